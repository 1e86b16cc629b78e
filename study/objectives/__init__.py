"""Define distillation objectives as functions of tensors: torch and nothing else (but
`study.errors`).
"""
