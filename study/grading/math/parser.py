"""Evaluate the tokens of a formula by recursive descent: Parser(tokens, point).whole() -> Real.
`study.grading.math.formulas` lists the formulas that it reads.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import sha256

from study.grading.math import balls
from study.grading.math.balls import Real, Unknown, rational

MAX_LENGTH = 600
MAX_DEPTH = 40

_TOKEN = re.compile(
    r"\s*(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"|\s*(?P<command>\\[A-Za-z]+)"
    r"|\s*(?P<letter>[A-Za-z]'*)(?:_(?:\{(?P<long>[A-Za-z0-9]+)\}|(?P<short>[A-Za-z0-9])))?"
    r"|\s*(?P<sign>[-+*/^!(){}\[\]|_])"
)
_FUNCTIONS: dict[str, Callable[[Real], Real]] = {
    "\\ln": balls.logarithm,
    "\\exp": balls.exponential,
    "\\sin": balls.sine,
    "\\cos": balls.cosine,
    "\\tan": lambda x: balls.multiply(balls.sine(x), balls.inverse(balls.cosine(x))),
    "\\cot": lambda x: balls.multiply(balls.cosine(x), balls.inverse(balls.sine(x))),
    "\\sec": lambda x: balls.inverse(balls.cosine(x)),
    "\\csc": lambda x: balls.inverse(balls.sine(x)),
}
GREEK = frozenset(
    (
        "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\varepsilon", "\\zeta",
        "\\eta", "\\theta", "\\vartheta", "\\kappa", "\\lambda", "\\mu", "\\nu", "\\xi",
        "\\rho", "\\sigma", "\\tau", "\\phi", "\\varphi", "\\chi", "\\psi", "\\omega",
        "\\Gamma", "\\Delta", "\\Theta", "\\Lambda", "\\Xi", "\\Sigma", "\\Phi", "\\Psi",
        "\\Omega",
    )
)  # fmt: skip
_STARTS = frozenset(("\\frac", "\\sqrt", "\\binom", "\\pi", "\\lfloor", "\\lceil"))
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}


def tokens_of(text: str) -> list[str] | None:
    """Return the tokens; None for a text that is not a formula."""
    if len(text) > MAX_LENGTH:
        return None
    tokens, end = list[str](), 0
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None:
            return None
        if match["letter"]:
            subscript = match["long"] or match["short"]
            tokens.append(f"{match['letter']}_{subscript}" if subscript else match["letter"])
        else:
            tokens.append(match["number"] or match["command"] or match["sign"])
        end = match.end()
    return tokens


class Parser:
    """Recursive descent over tokens, which evaluates as it goes."""

    def __init__(self, tokens: Sequence[str], point: int) -> None:
        self._tokens, self._at, self._point, self._depth = tokens, 0, point, 0

    def whole(self) -> Real:
        found = self._sum()
        if self._at != len(self._tokens):
            raise Unknown
        return found

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise Unknown

    def _sum(self) -> Real:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unknown
        total = self._signed()
        while (sign := self._peek()) in ("+", "-"):
            self._next()
            term = self._product()
            total = balls.add(total, term if sign == "+" else balls.negative(term))
        self._depth -= 1
        return total

    def _signed(self) -> Real:
        sign = self._peek()
        if sign not in ("+", "-"):
            return self._product()
        self._next()
        term = self._product()
        return balls.negative(term) if sign == "-" else term

    def _product(self) -> Real:
        """Multiply factors with or without a sign between them. A divisor that another factor
        follows without a sign, as in 1/2x, can be read in two ways.
        """
        total, divided = self._factor(), False
        while True:
            token = self._peek()
            if token in ("*", "/", "\\cdot", "\\times", "\\div"):
                self._next()
                divided = token in ("/", "\\div")
                factor = self._factor_after_sign()
                total = balls.multiply(total, balls.inverse(factor) if divided else factor)
            elif token == "\\bmod":
                self._next()
                total = _modulo(total, self._factor())
            elif self._starts_factor(token):
                if divided:
                    raise Unknown
                self._refuse_mixed_number()
                total = balls.multiply(total, self._factor())
            else:
                return total

    def _refuse_mixed_number(self) -> None:
        """Refuse 2\\frac{1}{2} next to other factors, which is two and a half or one; `2 3` has no
        value.
        """
        before, after = self._tokens[self._at - 1], self._tokens[self._at : self._at + 7]
        if after[0][0].isdigit() or after[0][0] == ".":
            raise Unknown
        plain_fraction = after[0] == "\\frac" and after[2:3] and after[2][0].isdigit()
        if before[0].isdigit() and plain_fraction and after[3:4] == ["}"]:
            raise Unknown

    def _factor_after_sign(self) -> Real:
        if self._peek() == "-":  # 2 * -3
            self._next()
            return balls.negative(self._factor())
        return self._factor()

    def _starts_factor(self, token: str) -> bool:
        if not token or token in (")", "]", "}", "+", "-", "^", "!", "_", "|"):
            return False
        known = token in _STARTS or token in _FUNCTIONS or token in GREEK or token == "\\log"
        return known or token in ("(", "[", "{") or token[0].isalnum() or token[0] == "."

    def _factor(self) -> Real:
        base = self._postfix()
        if self._peek() != "^":
            return base
        self._next()
        return balls.power(base, self._exponent())

    def _exponent(self) -> Real:
        if self._peek() == "{":
            return self._group()
        token = self._peek()
        if token[:1].isdigit() or (token[:1].isalpha()) or token in ("\\pi", *GREEK):
            return self._atom()
        raise Unknown

    def _postfix(self) -> Real:
        found = self._atom()
        while self._peek() == "!":
            self._next()
            if self._peek() == "!":  # a double factorial
                raise Unknown
            found = balls.whole_factorial(found)
        return found

    def _atom(self) -> Real:
        token = self._peek()
        if token in ("(", "[", "{", "\\lfloor", "\\lceil"):
            return self._group()
        self._next()
        if token == "|":
            inside = self._sum()
            self._expect("|")
            return balls.absolute(inside)
        if token[:1].isdigit() or token[:1] == ".":
            return rational(Fraction(token.replace(",", "").rstrip(".")))
        if token == "e":
            return balls.euler()
        if token[:1].isalpha() or token in GREEK:
            return self._variable(token)
        return self._command(token)

    def _variable(self, name: str) -> Real:
        if name in ("i", "I"):  # the imaginary unit, or a letter
            raise Unknown
        digest = sha256(f"{self._point} {name}".encode()).digest()
        return rational(Fraction(200 + digest[0] + 256 * digest[1], 30_011))

    def _command(self, token: str) -> Real:
        if token == "\\pi":
            return balls.pi()
        if token == "\\frac":
            top = self._group()
            return balls.multiply(top, balls.inverse(self._group()))
        if token == "\\binom":
            top = self._group()
            return _binomial(top, self._group())
        if token == "\\sqrt":
            degree = self._group() if self._peek() == "[" else rational(2)
            if degree.exact is None or degree.exact.denominator != 1:
                raise Unknown
            return balls.root(self._group(), int(degree.exact))
        if token == "\\log":
            return self._logarithm()
        if token in _FUNCTIONS:
            return self._applied(_FUNCTIONS[token], several=token not in ("\\ln", "\\exp"))
        raise Unknown

    def _logarithm(self) -> Real:
        """Read a logarithm; without a base it may be natural or decimal."""
        self._expect("_")
        base = self._group() if self._peek() == "{" else self._atom()
        scale = balls.inverse(balls.logarithm(base))
        return self._applied(lambda x: balls.multiply(balls.logarithm(x), scale))

    def _applied(self, function: Callable[[Real], Real], *, several: bool = False) -> Real:
        """Read \\sin^2 x, \\sin(x), \\sin 2x; not \\sin x/2, \\sin(x)! or \\ln 2x, which is ln(2x)
        or x ln 2.
        """
        exponent = None
        if self._peek() == "^":
            self._next()
            exponent = self._exponent()
            if exponent.exact is None or exponent.exact < 0:  # \\sin^{-1} is another function
                raise Unknown
        bracketed = self._peek() in ("(", "{", "[")
        argument = self._factor()
        while not bracketed and self._starts_argument(self._peek()):
            if not several:
                raise Unknown
            argument = balls.multiply(argument, self._factor())
        if self._peek() in ("^", "!", "/"):
            raise Unknown
        found = function(argument)
        return found if exponent is None else balls.power(found, exponent)

    def _starts_argument(self, token: str) -> bool:
        return token == "\\pi" or token in GREEK or (len(token) > 0 and token[0].isalpha())

    def _group(self) -> Real:
        opening = self._next()
        if opening not in _CLOSERS:
            raise Unknown
        inside = self._sum()
        self._expect(_CLOSERS[opening])
        if opening in ("\\lfloor", "\\lceil"):
            return balls.floor(inside, up=opening == "\\lceil")
        return inside


def _modulo(left: Real, right: Real) -> Real:
    if left.exact is None or right.exact is None or right.exact <= 0:
        raise Unknown
    return rational(left.exact % right.exact)


def _binomial(top: Real, bottom: Real) -> Real:
    if top.exact is None or bottom.exact is None or not 0 <= bottom.exact <= top.exact:
        raise Unknown
    parts = [balls.whole_factorial(rational(x)) for x in (bottom.exact, top.exact - bottom.exact)]
    return balls.multiply(
        balls.whole_factorial(top), balls.inverse(balls.multiply(parts[0], parts[1]))
    )
