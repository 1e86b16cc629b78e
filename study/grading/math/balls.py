r"""Compute real numbers for comparing formulas: exact rationals, and decimals with a bound on their
error.

A `Real` is a Fraction where that is possible. Otherwise it is a ball, mid +- error, computed with
DIGITS digits; every operation widens the error by what it can add. Two numbers whose balls do not
meet are proven different. Balls that meet with a relative error below 10^-CLOSE count as the same
number: no formula of some hundred characters can tell them apart.

`Unknown` is raised where a value is undefined, too large, or not covered.
"""

import decimal
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import factorial, isqrt

DIGITS = 320
CLOSE = 250
MAX_BITS = 60_000  # of an exact numerator or denominator
_ULP = Decimal(10) ** (2 - DIGITS)
_CONTEXT = decimal.Context(prec=DIGITS, Emax=100_000, Emin=-100_000)
# Inexact values beyond it, or below its inverse, never prove equality.
_EXTREME = Decimal(10) ** 100


class Unknown(Exception):
    """The formula has no value: it is undefined there, too large, or holds what this module cannot
    compute.
    """


@dataclass(frozen=True)
class Real:
    """A real number. exact: the value, or None for the ball `mid` +- `error`. extreme: a very large
    or very small value took part, so that balls that meet prove nothing.
    """

    exact: Fraction | None
    mid: Decimal
    error: Decimal = Decimal(0)
    extreme: bool = False


def rational(value: Fraction | int) -> Real:
    value = Fraction(value)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise Unknown
    with decimal.localcontext(_CONTEXT):
        return Real(value, Decimal(value.numerator) / Decimal(value.denominator))


def as_fraction(value: Real) -> Fraction:
    """Return the exact value, or the middle of the ball."""
    return Fraction(str(value.mid)) if value.exact is None else value.exact


def same(left: Real, right: Real) -> bool:
    """Whether two numbers are the same; Unknown where neither equality nor difference can be
    proven.
    """
    if left.exact is not None and right.exact is not None:
        return left.exact == right.exact
    with decimal.localcontext(_CONTEXT):
        left_error, right_error = _error(left), _error(right)
        slack = left_error + right_error
        if abs(left.mid - right.mid) > slack:
            return False
        size = max(abs(left.mid), abs(right.mid), Decimal(1))
        if left.extreme or right.extreme or slack > size * Decimal(10) ** -CLOSE:
            raise Unknown
    return True


def add(left: Real, right: Real) -> Real:
    if left.exact is not None and right.exact is not None:
        return rational(left.exact + right.exact)
    with decimal.localcontext(_CONTEXT):
        mid = left.mid + right.mid
        rounding = (abs(left.mid) + abs(right.mid)) * _ULP
        return _ball(mid, _error(left) + _error(right) + rounding, left, right)


def negative(value: Real) -> Real:
    exact = None if value.exact is None else -value.exact
    return Real(exact, value.mid.copy_negate(), value.error, value.extreme)


def multiply(left: Real, right: Real) -> Real:
    if left.exact is not None and right.exact is not None:
        return rational(left.exact * right.exact)
    if 0 in (left.exact, right.exact):
        return rational(0)
    with decimal.localcontext(_CONTEXT):
        mid = left.mid * right.mid
        error = abs(left.mid) * _error(right) + abs(right.mid) * _error(left)
        error += _error(left) * _error(right) + abs(mid) * _ULP
        return _ball(mid, error, left, right)


def inverse(value: Real) -> Real:
    if value.exact is not None:
        if value.exact == 0:
            raise Unknown
        return rational(1 / value.exact)
    _away_from_zero(value)
    with decimal.localcontext(_CONTEXT):
        mid = 1 / value.mid
        smallest = abs(value.mid) - value.error
        return _ball(mid, value.error / (smallest * smallest) + abs(mid) * _ULP, value)


def absolute(value: Real) -> Real:
    return negative(value) if _sign(value) < 0 else value


def floor(value: Real, *, up: bool = False) -> Real:
    """Return the largest integer below; `up`: the smallest above."""
    if value.exact is None:
        raise Unknown
    return rational(-(-value.exact // 1) if up else value.exact // 1)


def power(base: Real, exponent: Real) -> Real:
    whole = exponent.exact is not None and exponent.exact.denominator == 1
    if whole and exponent.exact is not None:
        return _whole_power(base, int(exponent.exact))
    if exponent.exact is not None and exponent.exact.denominator <= 64:
        radicand = _whole_power(base, exponent.exact.numerator)
        if _sign(base) < 0:
            raise Unknown
        return root(radicand, exponent.exact.denominator)
    return exponential(multiply(exponent, logarithm(base)))


def _whole_power(base: Real, exponent: int) -> Real:
    if exponent < 0:
        return inverse(_whole_power(base, -exponent))
    if exponent == 0:
        if base.exact is None:
            _away_from_zero(base)
        return rational(1)
    if base.exact is not None:
        bits = max(base.exact.numerator.bit_length(), base.exact.denominator.bit_length())
        if exponent > 1 and bits > 1 and bits * exponent > MAX_BITS:
            raise Unknown
        if exponent > MAX_BITS:
            exponent = 2 + exponent % 2  # of 0, 1 and -1
        return rational(base.exact**exponent)
    if exponent > 10_000:
        raise Unknown
    result = base
    for bit in f"{exponent:b}"[1:]:
        result = multiply(result, result)
        if bit == "1":
            result = multiply(result, base)
    return result


def root(value: Real, degree: int) -> Real:
    """Return the real root; of a negative number only for an odd degree."""
    if not 1 <= degree <= 1000:
        raise Unknown
    if _sign(value) < 0:
        if degree % 2 == 0:
            raise Unknown
        return negative(root(negative(value), degree))
    if value.exact is not None:
        top = _whole_root(value.exact.numerator, degree)
        bottom = _whole_root(value.exact.denominator, degree)
        if top is not None and bottom is not None:
            return rational(Fraction(top, bottom))
    elif degree > 1:
        _away_from_zero(value)
    if degree == 2:
        with decimal.localcontext(_CONTEXT):
            mid = value.mid.sqrt()
            return _ball(mid, _error(value) / mid + mid * _ULP, value)
    return exponential(multiply(rational(Fraction(1, degree)), logarithm(value)))


def _whole_root(value: int, degree: int) -> int | None:
    if value < 2:
        return value
    if degree == 2:
        found = isqrt(value)
    else:
        found = 1 << -(-value.bit_length() // degree)  # Newton's method from above
        while (lower := ((degree - 1) * found + value // found ** (degree - 1)) // degree) < found:
            found = lower
    return found if found**degree == value else None


def logarithm(value: Real) -> Real:
    """Return the natural logarithm."""
    if value.exact == 1:
        return rational(0)
    if _sign(value) <= 0:
        raise Unknown
    with decimal.localcontext(_CONTEXT):
        mid = value.mid.ln()
        error = 2 * _error(value) / value.mid + (abs(mid) + 1) * _ULP
        return _ball(mid, error, value)


def exponential(value: Real) -> Real:
    if value.exact == 0:
        return rational(1)
    if abs(value.mid) > 100_000:
        raise Unknown
    with decimal.localcontext(_CONTEXT):
        mid = value.mid.exp()
        return _ball(mid, mid * (2 * _error(value) + _ULP), value)


def sine(value: Real) -> Real:
    """Return the sine by its series after a reduction to |x| <= pi."""
    if abs(value.mid) > 10**6:
        raise Unknown
    if value.exact == 0:
        return rational(0)
    with decimal.localcontext(_CONTEXT):
        turn = 2 * pi().mid
        angle = value.mid - turn * (value.mid / turn).to_integral_value()
        total, term, n = Decimal(0), angle, 1
        while abs(term) > _ULP * Decimal("1e-5"):
            total += term
            n += 2
            term = -term * angle * angle / (n * (n - 1))
        error = _error(value) + (abs(value.mid) + 1000) * _ULP
        return _ball(total, error, value)


def cosine(value: Real) -> Real:
    if value.exact == 0:
        return rational(1)
    return sine(add(value, multiply(pi(), rational(Fraction(1, 2)))))


def whole_factorial(value: Real) -> Real:
    if value.exact is None or value.exact.denominator != 1 or not 0 <= value.exact <= 5000:
        raise Unknown
    return rational(factorial(int(value.exact)))


@lru_cache(maxsize=1)
def pi() -> Real:
    """Compute pi by Machin's formula: pi / 4 = 4 arctan(1/5) - arctan(1/239)."""
    with decimal.localcontext(_CONTEXT) as context:
        context.prec += 10
        return Real(None, 4 * (4 * _arctan_inverse(5) - _arctan_inverse(239)), 4 * _ULP)


def _arctan_inverse(number: int) -> Decimal:
    total = term = Decimal(1) / number
    n = 1
    while abs(term) > _ULP * Decimal("1e-10"):
        n += 2
        term = -term / (number * number)
        total += term / n
    return total


@lru_cache(maxsize=1)
def euler() -> Real:
    return exponential(rational(1))


def _ball(mid: Decimal, error: Decimal, *operands: Real) -> Real:
    sizes = [abs(each.mid) for each in operands] + [abs(mid)]
    extreme = any(size > _EXTREME or 0 < size < 1 / _EXTREME for size in sizes)
    return Real(None, mid, error, extreme or any(each.extreme for each in operands))


def _error(value: Real) -> Decimal:
    """Return the error; a rational is off by the rounding of its decimal."""
    return value.error if value.exact is None else abs(value.mid) * _ULP


def _sign(value: Real) -> int:
    if value.exact is not None:
        return (value.exact > 0) - (value.exact < 0)
    _away_from_zero(value)
    return 1 if value.mid > 0 else -1


def _away_from_zero(value: Real) -> None:
    if abs(value.mid) <= 2 * value.error:
        raise Unknown
