//! Bars as SVG. A chart is a list of lines, each with its label and its value as text; what is drawn here only stands beside them, so
//! that nothing is told by colour or length alone. Places are percentages: a bar is as wide as its page, and text is never scaled.

use std::fmt::Write;

/// What a bar's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Less,
    Same,
    More,
    /// Something is wrong.
    Wrong,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Less => "less",
            Self::Same => "same",
            Self::More => "more",
            Self::Wrong => "wrong",
        }
    }
}

/// A stretch of the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    pub from: f64,
    pub to: f64,
    pub tone: Tone,
}

impl Stretch {
    #[must_use]
    pub fn from_zero(to: f64, tone: Tone) -> Self {
        Self { from: 0.0, to, tone }
    }
}

/// What all bars of a chart are drawn against. Zero is always on it.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    low: f64,
    high: f64,
}

/// Share of the width below which a bar would be too thin to be seen.
const THINNEST: f64 = 0.5;
const HEIGHT: u32 = 14;

impl Axis {
    #[must_use]
    pub fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let from_zero = Self { low: 0.0, high: 0.0 };
        values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold(from_zero, |axis, value| Self { low: axis.low.min(value), high: axis.high.max(value) })
    }

    /// Where a value stands, in percent of the width.
    fn place(self, value: f64) -> f64 {
        let length = self.high - self.low;
        if length > 0.0 && length.is_finite() { ((value - self.low) / length * 100.0).clamp(0.0, 100.0) } else { 0.0 }
    }

    /// One bar. It says nothing to those who cannot see it: the line it belongs to has the words.
    #[must_use]
    pub fn bar(self, stretches: &[Stretch]) -> String {
        let mut svg = format!("<svg class=\"bar\" width=\"100%\" height=\"{HEIGHT}\" aria-hidden=\"true\">");
        for stretch in stretches {
            let (one, other) = (self.place(stretch.from), self.place(stretch.to));
            let width = (one - other).abs().max(THINNEST);
            let left = one.min(other).min(100.0 - width);
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{left:.2}%\" y=\"2\" width=\"{width:.2}%\" height=\"{}\"/>",
                stretch.tone.class(),
                HEIGHT - 4
            );
        }
        let zero = self.place(0.0);
        let _ =
            write!(svg, "<line class=\"axis\" x1=\"{zero:.2}%\" y1=\"0\" x2=\"{zero:.2}%\" y2=\"{HEIGHT}\"/></svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_nothing_of_zero_and_of_huge_values_are_finite() {
        for values in
            [vec![], vec![0.0], vec![0.0, -0.0], vec![-1.0], vec![1e300, -1e300], vec![f64::NAN, f64::INFINITY]]
        {
            let axis = Axis::over(values.clone());
            for value in values {
                let svg = axis.bar(&[Stretch::from_zero(value, Tone::Same)]);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn a_bar_lies_between_its_ends_and_never_outside() {
        let axis = Axis::over([-50.0, 150.0]);
        assert!(axis.bar(&[Stretch::from_zero(150.0, Tone::More)]).contains("x=\"25.00%\" y=\"2\" width=\"75.00%\""));
        assert!(axis.bar(&[Stretch::from_zero(-50.0, Tone::Less)]).contains("x=\"0.00%\" y=\"2\" width=\"25.00%\""));
        let thin = axis.bar(&[Stretch { from: 150.0, to: 150.0, tone: Tone::More }]);
        assert!(thin.contains("x=\"99.50%\" y=\"2\" width=\"0.50%\""), "{thin}");
    }
}
