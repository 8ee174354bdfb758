//! Bars as SVG. Colours come from the page's own style, so that a chart follows it into the dark and onto paper; every bar has its
//! value next to it, so that nothing is told by colour or length alone.

use std::fmt::Write;

/// One bar: to the left of the axis if `value` is negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    pub label: String,
    /// What stands next to the bar.
    pub value_label: String,
    /// Only its proportion to the others' matters.
    pub value: f64,
    pub tone: Tone,
}

/// What a bar's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Less,
    Same,
    More,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Less => "less",
            Self::Same => "same",
            Self::More => "more",
        }
    }
}

const WIDTH: f64 = 760.0;
const ROW_HEIGHT: f64 = 30.0;
const BAR_HEIGHT: f64 = 16.0;
const LABELS_WIDTH: f64 = 220.0;
/// Room for the value beyond the longest bar.
const VALUES_WIDTH: f64 = 130.0;
const LABEL_LENGTH_MAX: usize = 32;

/// Horizontal bars from a common axis, one a row. `title` is for those who cannot see them.
#[must_use]
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value.abs()).fold(0.0, f64::max);
    let has = |negative: bool| bars.iter().any(|bar| bar.value != 0.0 && (bar.value < 0.0) == negative);
    let (left_room, right_room) = (if has(true) { VALUES_WIDTH } else { 0.0 }, VALUES_WIDTH);
    let plot = WIDTH - LABELS_WIDTH - left_room - right_room;
    let scale = if longest > 0.0 { plot / longest / if has(true) { 2.0 } else { 1.0 } } else { 0.0 };
    let axis = LABELS_WIDTH + left_room + if has(true) { plot / 2.0 } else { 0.0 };
    let height = rows_height(bars.len());

    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    );
    let mut top = 0.0;
    for bar in bars {
        draw(&mut svg, bar, Place { top, axis, length: bar.value.abs() * scale });
        top += ROW_HEIGHT;
    }
    let _ = write!(svg, "<line class=\"axis\" x1=\"{axis:.1}\" y1=\"0\" x2=\"{axis:.1}\" y2=\"{height}\"/></svg>");
    svg
}

/// Where a bar goes.
struct Place {
    top: f64,
    axis: f64,
    length: f64,
}

fn draw(svg: &mut String, bar: &Bar, place: Place) {
    let Place { top, axis, length } = place;
    let is_less = bar.value < 0.0;
    let from = if is_less { axis - length } else { axis };
    let (text_at, anchor) = if is_less { (from - 8.0, "end") } else { (axis + length + 8.0, "start") };
    let baseline = top + ROW_HEIGHT / 2.0 + 5.0;
    let _ = write!(
        svg,
        "<g><title>{full}: {value}</title><text class=\"label\" x=\"0\" y=\"{baseline:.1}\">{label}</text>\
         <rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>\
         <text class=\"value\" x=\"{text_at:.1}\" y=\"{baseline:.1}\" text-anchor=\"{anchor}\">{value}</text></g>",
        full = escaped(&bar.label),
        label = escaped(&shortened(&bar.label)),
        value = escaped(&bar.value_label),
        class = bar.tone.class(),
        y = top + (ROW_HEIGHT - BAR_HEIGHT) / 2.0,
        width = length.max(1.0),
    );
}

fn rows_height(rows: usize) -> f64 {
    u32::try_from(rows).map_or(0.0, f64::from) * ROW_HEIGHT
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL_LENGTH_MAX {
        return label.to_owned();
    }
    let mut shown: String = label.chars().take(LABEL_LENGTH_MAX - 1).collect();
    shown.push('…');
    shown
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_its_element() {
        let svg = bars(
            "who \"pays\"",
            &[Bar { label: "<script>&".into(), value_label: "1".into(), value: 1.0, tone: Tone::More }],
        );
        assert!(svg.contains("&lt;script&gt;&amp;") && !svg.contains("<script>") && svg.contains("&quot;pays&quot;"));
    }

    #[test]
    fn bars_of_nothing_and_of_zero_are_finite() {
        for values in [vec![], vec![0.0], vec![0.0, -0.0], vec![-1.0], vec![1e300, -1e300]] {
            let list: Vec<Bar> = values
                .into_iter()
                .map(|value| Bar { label: "a".into(), value_label: "b".into(), value, tone: Tone::Same })
                .collect();
            let svg = bars("t", &list);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
