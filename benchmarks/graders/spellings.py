r"""Pairs written by hand, by kind: spellings that graders of several projects got wrong.

(answer, reference, equal); STATED are completions without a box, for the relaxed reading.
"""

Case = tuple[str, str, bool]

KINDS: dict[str, tuple[Case, ...]] = {
    "power with two stars": (
        ("34", "3**4", False),
        ("81", "3**4", True),
        ("y^3-2", "y**3-2", True),
        ("3y-2", "y**3-2", False),
        (r"\sqrt[3]{5}", "5**(1/3)", True),
    ),
    "gold in several boxes": (
        ("4", r"We find \boxed{3} and also \boxed{4}.", False),
        ("4,3", r"\boxed{3} or \boxed{4}", True),
        ("3", r"\boxed{3}\boxed{4}", False),
    ),
    "matrix arithmetic": (
        (r"2\begin{pmatrix}1&0\\0&3\end{pmatrix}", r"\begin{pmatrix}2&0\\0&6\end{pmatrix}", True),
        (
            r"\begin{pmatrix}4\\5\end{pmatrix}+\begin{pmatrix}1\\1\end{pmatrix}",
            r"\begin{pmatrix}5\\6\end{pmatrix}",
            True,
        ),
        (
            r"\begin{pmatrix}4\\5\end{pmatrix}-\begin{pmatrix}1\\1\end{pmatrix}",
            r"\begin{pmatrix}5\\6\end{pmatrix}",
            False,
        ),
    ),
    "units and currencies of any script": (
        ("35公里", "35", True),
        ("12円", "12", True),
        ("£40", "40", True),
        ("9 cm²", "9", True),
        ("60 km/h", "60", True),
        ("60 km/h", "61", False),
    ),
    "percent in words": (
        ("45 pct", r"45\%", True),
        ("45 per cent", "45%", True),
        ("45 pct", "0.45", True),
        ("45 pct", "4.5", False),
    ),
    "name with a subscript": (
        (r"\frac{m}{3}", r"P_{\min}=\frac{m}{3}", True),
        (r"\phi_{\max}=45", "45", True),
        (r"v_{\text{end}}=3", "4", False),
    ),
    "inequality around a name": (
        ("(2,5)", "2<g(x)<5", True),
        ("(2,5]", "2<y_1<5", False),
        ("[2,5]", r"2\le a_3\le 5", True),
    ),
    "assignment written backwards": (
        ("6", "6=y", True),
        ("6=y", "6", True),
        ("6=y", "7", False),
    ),
    "equation that ends in the answer": (
        (r"23 \bmod 7=2", "2", True),
        ("3!=6", "6", True),
        ("3!=7", "6", False),
    ),
    "one assignment tuple per solution": (
        ("(1,4),(3,4)", "u=1,v=4;u=3,v=4", True),
        ("(1,4),(3,5)", "u=1,v=4;u=3,v=4", False),
    ),
    "comma between digits": (
        ("41, 207", "41207", False),
        ("41,207", "41207", True),
        ("0,25", "0.25", True),
    ),
    "escapes too many or too few": (
        (r"\\frac{2}{7}", r"\frac27", True),
        ("64", "64\\", True),
    ),
    "operation that ends in the answer": (
        (r"\gcd(18,48)=6", "6", True),
        (r"\int_0^4 x\,dx=8", "8", True),
        (r"\sum_{k=1}^{8}k=36", "36", True),
        (r"45\equiv3\pmod7", "3", True),
        (r"\sum_{k=1}^{8}k=36", "8", False),
        (r"45\equiv3\pmod7", "7", False),
    ),
    "false equation": (
        ("3+3=7", "7", False),
        ("9=4", "4", False),
        (r"45\equiv4\pmod7", "4", False),
    ),
    "currency with a letter": (
        ("R$ 80", "80", True),
        (r"NZ\$80", "80", True),
        ("R$ 80", "€80", False),
    ),
    "grouping by hundreds": (
        ("34,56,789", "3456789", True),
        ("34,56,789", "3456788", False),
        ("4,600", "(4,600)", False),
    ),
    "letters for pi": (
        ("pi/6", r"\frac{\pi}{6}", True),
        ("2pi", r"2\pi", True),
        ("pi/6", r"\frac{\pi}{3}", False),
    ),
    "Unicode mathematics": (
        ("√7", r"\sqrt{7}", True),
        ("3×10⁴", "30000", True),
        ("２５", "25", True),
        ("⅜", "3/8", True),
        ("√7", r"\sqrt{6}", False),
    ),
    "exact beyond sixteen digits": (
        (r"\frac{3^{70}+1}{3^{71}}", r"\frac{1}{3}", False),
        (r"\frac{3^{70}}{3^{71}}", r"\frac{1}{3}", True),
        ("7^{-60}", "7^{-61}", False),
        (r"\frac{1}{77!}", r"\frac{1}{76!}", False),
        ("10^{40}+1", "10^{40}", False),
    ),
    "formula that does not close": (
        (r"\frac{3}{5} ((", r"\frac{3}{5}", False),
        (r"\frac{3}{5}+", r"\frac{3}{5}", False),
    ),
}

STATED: dict[str, tuple[Case, ...]] = {
    "bare formula": (
        (r"\frac{3+\sqrt{7}}{4}", "4", False),
        (r"\frac{5}{35}", r"\frac17", True),
    ),
    "sentence after a marker": (
        ("Final Answer: The area of triangle $PQR$ is 84.", "84", True),
        ("Answer: The smallest $k$ is 11.", "11", True),
    ),
    "number beside a letter of any script": (
        ("所以答案是27个。", "27", True),
        ("したがって**8枚**です。", "8", True),
    ),
    "values listed in prose": (
        ("The zeros are $6$ and $9$.", "6,9", True),
        ("The zeros are $6$ and $9$.", "9", False),
        ("x = 6, 9", "9", False),
        ("It is between $6$ and $9$.", "9", False),
        ("So 9 is not the answer.", "9", False),
        ("It is 6, not 9.", "6", True),
    ),
    "thousands": (
        ("In total this is $7{,}250.", "7250", True),
        ("In total this is $7{,}250.", "250", False),
        ("It comes to 64\\,000 steps", "64000", True),
    ),
    "answer tags": (
        (r"<answer>\dfrac{2}{9}</answer>", "2/9", True),
        ("<answer>31</answer> confidence 5", "31", True),
        ("<answer>31</answer> confidence 5", "5", False),
    ),
}
