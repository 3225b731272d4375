//! Repeats of one measure: their median and their spread.

use std::fmt;

/// The repeats of one measure, in one unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Whether it was never measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The middle one; the mean of the two middle ones when their number is even. NaN without repeats.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Pair by pair, repeat by repeat: this over the other. Neighbours in time share the machine's mood.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self { values: self.values.iter().zip(&other.values).map(|(mine, other)| mine / other).collect() }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// `median (least to most)`, with digits that suit the size.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let median = self.median();
        let digits = match median {
            0.0..10.0 => 2,
            10.0..1000.0 => 1,
            _ => 0,
        };
        write!(f, "{median:.digits$}")?;
        match sorted.as_slice() {
            [least, .., most] => write!(f, " ({least:.digits$} to {most:.digits$})"),
            _ => Ok(()),
        }
    }
}
