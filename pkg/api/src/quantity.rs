//! Quantities: `100m`, `1.5Gi`, `1e3`. The grammar, rounding and canonical form are those of
//! `k8s.io/apimachinery/pkg/api/resource`.
//!
//! A value is kept exactly, as a 128-bit count of nano-units: nothing smaller can be written (it is rounded up), and the
//! largest that upstream keeps, 2^63-1 units, needs 93 bits.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::str::FromStr;

const UNIT: i128 = 1_000_000_000;
const MILLI: i128 = UNIT / 1000;

/// How a quantity is written; arithmetic keeps the form of its left side, unless that is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`.
    DecimalSi,
}

/// Why a text is not a quantity; the texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The unit is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A quantity. Equality and order are those of the value, whatever its form.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// Suffix, base, exponent.
const SUFFIXES: &[(&str, u32, i32)] = &[
    ("n", 10, -9),
    ("u", 10, -6),
    ("m", 10, -3),
    ("", 10, 0),
    ("k", 10, 3),
    ("M", 10, 6),
    ("G", 10, 9),
    ("T", 10, 12),
    ("P", 10, 15),
    ("E", 10, 18),
    ("Ki", 2, 10),
    ("Mi", 2, 20),
    ("Gi", 2, 30),
    ("Ti", 2, 40),
    ("Pi", 2, 50),
    ("Ei", 2, 60),
];

/// The parts of a written quantity.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros, but at least one.
    whole: &'a str,
    fraction: &'a str,
    base: u32,
    exponent: i32,
    format: Format,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, ParseError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number_end = unsigned.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(unsigned.len());
        let (whole, rest) = unsigned.split_at(number_end);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let letters_end = suffix.find(|letter| !"eEinumkKMGTP".contains(letter)).unwrap_or(suffix.len());
        let (_, digits) = suffix.split_at(letters_end);
        if text.is_empty() || !digits.strip_prefix(['+', '-']).unwrap_or(digits).bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseError::Format);
        }
        let (base, exponent, format) = unit(suffix).ok_or(ParseError::Suffix)?;
        // No digits at all count as zero, as they do upstream.
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        Ok(Self { negative: text.starts_with('-'), whole, fraction, base, exponent, format })
    }

    fn value(&self) -> Quantity {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        let mut mantissa: i128 = 0;
        // What does not fit is far beyond every limit: saturate, as the cap would.
        for digit in digits {
            mantissa = mantissa.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        let mut scale = 9 - i32::try_from(self.fraction.len()).unwrap_or(i32::MAX / 2);
        match self.base {
            2 => mantissa = mantissa.saturating_mul(1_i128 << self.exponent.clamp(0, 60)),
            _ => scale = scale.saturating_add(self.exponent),
        }
        let mut nano = shift(mantissa, scale);
        let mut format = self.format;
        if format == Format::BinarySi {
            // The fast path of upstream is exact for whole numbers, its slow path caps; the cap is the same for both.
            nano = nano.min(i128::from(i64::MAX) * UNIT);
            if nano > 0 && nano < UNIT {
                format = Format::DecimalSi;
            }
        }
        Quantity { nano: if self.negative { -nano } else { nano }, format }
    }

    /// Whether upstream writes the text back as it was read: it takes a shortcut for what it believes to be canonical.
    fn is_kept(&self) -> bool {
        let digits = self.whole.len() + self.fraction.len();
        let shifted = || self.whole.bytes().chain(self.fraction.bytes());
        if self.format == Format::BinarySi {
            let precision =
                15 - i64::try_from(self.whole.len()).unwrap_or(i64::MAX) - i64::from(self.exponent * 3 / 10) - 1;
            let last_bits = self.whole.parse::<i64>().map(|value| value & 7);
            return self.fraction.is_empty() && precision >= 0 && last_bits.is_ok_and(|bits| bits != 0);
        }
        let scale = self.exponent.saturating_sub(i32::try_from(self.fraction.len()).unwrap_or(i32::MAX));
        let thousands = digits >= 3 && shifted().skip(digits - 3).all(|digit| digit == b'0');
        digits <= 18 && scale >= -9 && scale % 3 == 0 && !thousands && shifted().next() != Some(b'0')
    }
}

/// `value * 10^by`, rounded away from zero.
fn shift(value: i128, by: i32) -> i128 {
    let power = 10_i128.checked_pow(by.unsigned_abs());
    match (by >= 0, power) {
        (_, _) if value == 0 => 0,
        (true, Some(power)) => value.saturating_mul(power),
        (true, None) => i128::MAX,
        (false, Some(power)) => value / power + i128::from(value % power != 0),
        (false, None) => 1,
    }
}

fn unit(suffix: &str) -> Option<(u32, i32, Format)> {
    if let Some((_, base, exponent)) = SUFFIXES.iter().find(|(known, ..)| *known == suffix) {
        return Some((*base, *exponent, if *base == 2 { Format::BinarySi } else { Format::DecimalSi }));
    }
    let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let exponent = i32::try_from(exponent.clamp(-1000, 1000)).ok()?;
    Some((10, exponent, Format::DecimalExponent))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Parts::read(text).map(|parts| parts.value())
    }
}

/// The text that upstream writes for a quantity that it read as `text`: mostly the canonical one.
///
/// # Errors
/// When it is none.
pub fn canonical(text: &str) -> Result<Cow<'_, str>, ParseError> {
    let parts = Parts::read(text)?;
    if parts.is_kept() { Ok(Cow::Borrowed(text)) } else { Ok(Cow::Owned(parts.value().to_string())) }
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// Whole units.
    #[must_use]
    pub fn new(value: i64, format: Format) -> Self {
        Self { nano: i128::from(value) * UNIT, format }
    }

    /// Thousandths.
    #[must_use]
    pub fn milli(value: i64, format: Format) -> Self {
        Self { nano: i128::from(value) * MILLI, format }
    }

    /// Whole units, rounded away from zero, at most what 64 bits hold.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled(UNIT)
    }

    /// Thousandths, rounded away from zero, at most what 64 bits hold.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        self.scaled(MILLI)
    }

    fn scaled(self, unit: i128) -> i64 {
        let rounded = self.nano / unit + (self.nano % unit).signum();
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    /// As a floating-point number, which may lose precision.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "that is what is asked for")]
    pub fn as_f64(self) -> f64 {
        self.nano as f64 / UNIT as f64
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Whether it is less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// How it is written.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    fn combine(self, other: Self, nano: i128) -> Self {
        Self { nano, format: if self.is_zero() { other.format } else { self.format } }
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.combine(other, self.nano.saturating_add(other.nano))
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.combine(other, self.nano.saturating_sub(other.nano))
    }
}

impl Mul<i64> for Quantity {
    type Output = Self;
    fn mul(self, factor: i64) -> Self {
        Self { nano: self.nano.saturating_mul(factor.into()), ..self }
    }
}

impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nano: self.nano.saturating_neg(), ..self }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest exponent that loses nothing.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return out.write_str("0");
        }
        let small = self.nano.abs() < 1024 * UNIT;
        if self.format == Format::BinarySi && !small && self.nano % UNIT == 0 {
            return self.write_binary(out);
        }
        let (mut mantissa, mut exponent) = (self.nano, -9);
        let largest = if self.format == Format::DecimalExponent { 30 } else { 18 };
        while mantissa % 1000 == 0 && exponent < largest {
            mantissa /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(out, "{mantissa}"),
            Format::DecimalExponent => write!(out, "{mantissa}e{exponent}"),
            _ => write!(out, "{mantissa}{}", suffix_of(10, exponent)),
        }
    }
}

impl Quantity {
    fn write_binary(self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.nano / UNIT, 0);
        while mantissa % 1024 == 0 && exponent < 60 {
            mantissa /= 1024;
            exponent += 10;
        }
        write!(out, "{mantissa}{}", if exponent == 0 { "" } else { suffix_of(2, exponent) })
    }
}

fn suffix_of(base: u32, exponent: i32) -> &'static str {
    SUFFIXES.iter().find(|(_, b, e)| (*b, *e) == (base, exponent)).map_or("", |(suffix, ..)| suffix)
}

#[cfg(test)]
mod tests;
