//! Lines over time as SVG, drawn here so that they need no script. What a line shows is told in words beside it and number by number in a
//! table below it: nothing is told by colour or shape alone. Text stands outside the drawing, so that it is never stretched with it.

use std::fmt::Write;

use super::words::when;
use crate::primitives::Instant;

/// Units of the drawing, in both directions; the page stretches it.
const SIZE: i128 = 1000;
/// Room above the highest and below the lowest value, so that lines are not cut in half.
const MARGIN: i128 = 30;
/// Rows of the table: the newest.
const ROWS: usize = 48;
/// So many steps are shown at least.
const STEPS_MIN: i64 = 12;
/// Two values that are more than this many steps apart are not joined: nobody knows what was between.
const GAP_STEPS: i64 = 3;

/// A line: values, each with where its stretch of time begins in microseconds, the oldest first.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(i64, i64)>,
}

/// What is to be drawn.
pub struct Plan {
    /// Stands in the page's addresses.
    pub id: &'static str,
    pub title: &'static str,
    /// What its values are, in a sentence.
    pub what: &'static str,
    pub lines: Vec<Line>,
    pub from: i64,
    pub until: i64,
    pub step: i64,
    /// How a value is written.
    pub told: fn(i64) -> String,
}

/// A chart as the page has it.
pub struct Chart {
    pub id: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    /// Empty: nothing is known.
    pub svg: String,
    pub top: String,
    pub from: String,
    pub until: String,
    pub legend: Vec<Legend>,
    pub rows: Vec<(String, Vec<String>)>,
}

/// What a line is, and where it has come to.
pub struct Legend {
    pub class: &'static str,
    pub name: &'static str,
    pub now: String,
}

const CLASSES: [&str; 3] = ["line-1", "line-2", "line-3"];

impl Plan {
    /// Draws it.
    #[must_use]
    pub fn drawn(mut self, now: Instant) -> Chart {
        for line in &mut self.lines {
            line.points.retain(|(at, _)| (self.from..=self.until).contains(at));
        }
        let known = self.lines.iter().filter_map(|line| line.points.first().map(|(at, _)| *at)).min();
        // What has just begun is not a speck at the end of an empty day.
        let newest = self.until.saturating_sub(self.step.saturating_mul(STEPS_MIN));
        self.from = self.from.max(known.unwrap_or(self.from).min(newest));
        let values = self.lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
        let highest = values.max();
        let time = |at: i64| when(Instant::from_micros(at), now).text;
        Chart {
            id: self.id,
            title: self.title,
            what: self.what,
            svg: highest.map(|highest| self.svg(highest.max(1))).unwrap_or_default(),
            top: (self.told)(highest.unwrap_or(0).max(1)),
            from: time(self.from),
            until: time(self.until),
            legend: self.legend(),
            rows: self.rows(&time),
        }
    }

    fn svg(&self, highest: i64) -> String {
        let label = self.legend().iter().map(|one| format!("{}: {} at last", one.name, one.now)).collect::<Vec<_>>();
        let mut svg = format!(
            "<svg role=\"img\" aria-label=\"{}. {}\" viewBox=\"0 0 {SIZE} {SIZE}\" preserveAspectRatio=\"none\">",
            self.title,
            label.join("; ")
        );
        for y in [MARGIN, SIZE / 2, SIZE - MARGIN] {
            let _ = write!(svg, "<line class=\"grid\" x1=\"0\" y1=\"{y}\" x2=\"{SIZE}\" y2=\"{y}\"/>");
        }
        for (line, class) in self.lines.iter().zip(CLASSES) {
            for run in self.runs(line) {
                let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", self.places(run, highest));
            }
        }
        svg.push_str("</svg>");
        svg
    }

    /// Parts of a line without a gap.
    fn runs<'l>(&self, line: &'l Line) -> impl Iterator<Item = &'l [(i64, i64)]> {
        let gap = self.step.saturating_mul(GAP_STEPS);
        line.points.chunk_by(move |(one, _), (next, _)| next - one <= gap)
    }

    /// The last value holds to the end of its stretch of time, so that a value that stands alone is seen.
    fn places(&self, run: &[(i64, i64)], highest: i64) -> String {
        let end = run.last().map(|(at, value)| (at.saturating_add(self.step).min(self.until), *value));
        let places = run.iter().copied().chain(end);
        let places = places.map(|(at, value)| format!("{},{}", self.x(at), y(value, highest)));
        places.collect::<Vec<_>>().join(" ")
    }

    fn x(&self, at: i64) -> i128 {
        let length = i128::from(self.until - self.from).max(1);
        (i128::from(at - self.from) * SIZE / length).clamp(0, SIZE)
    }

    fn legend(&self) -> Vec<Legend> {
        let of = |(line, class): (&Line, &'static str)| {
            let now =
                line.points.last().map_or_else(|| String::from("nothing known"), |(_, value)| (self.told)(*value));
            Legend { class, name: line.name, now }
        };
        self.lines.iter().zip(CLASSES).map(of).collect()
    }

    /// The newest first.
    fn rows(&self, time: &impl Fn(i64) -> String) -> Vec<(String, Vec<String>)> {
        let mut moments: Vec<i64> = self.lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at)).collect();
        moments.sort_unstable();
        moments.dedup();
        let value_at = |line: &Line, at: i64| {
            let found = line.points.iter().find(|(known, _)| *known == at);
            found.map_or_else(|| String::from("–"), |(_, value)| (self.told)(*value))
        };
        let row = |at: &i64| (time(*at), self.lines.iter().map(|line| value_at(line, *at)).collect());
        moments.iter().rev().take(ROWS).map(row).collect()
    }
}

fn y(value: i64, highest: i64) -> i128 {
    let room = SIZE - 2 * MARGIN;
    SIZE - MARGIN - (i128::from(value) * room / i128::from(highest.max(1))).clamp(0, room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(points: &[(i64, i64)]) -> Plan {
        let lines = vec![Line { name: "Rows", points: points.to_vec() }];
        let told = |value: i64| value.to_string();
        Plan { id: "x", title: "X", what: "x", lines, from: 0, until: 1_000, step: 10, told }
    }

    fn drawn(points: &[(i64, i64)]) -> Chart {
        plan(points).drawn(Instant::from_micros(1_000))
    }

    #[test]
    fn what_is_not_known_is_not_drawn() {
        let empty = drawn(&[]);
        assert!(empty.svg.is_empty() && empty.rows.is_empty());
        assert!(drawn(&[(-5, 1), (2_000, 1)]).svg.is_empty(), "outside of the time that is shown");
        let chart = drawn(&[(0, 5), (10, 5), (500, 5)]);
        assert_eq!(chart.svg.matches("<polyline").count(), 2, "a gap is left open: {}", chart.svg);
    }

    #[test]
    fn lines_stay_within_the_drawing() {
        for values in [[0, 0], [i64::MIN, i64::MAX], [-5, 3], [7, 7]] {
            let chart = drawn(&[(0, values[0]), (990, values[1])]);
            let places = chart.svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            for number in places.flat_map(|place| place.split([' ', ','])) {
                let number: i64 = number.parse().unwrap();
                assert!((0..=1000).contains(&number), "{values:?}: {}", chart.svg);
            }
        }
    }

    #[test]
    fn the_table_has_the_newest_first_and_the_legend_the_last() {
        let chart = drawn(&[(0, 5), (10, 7)]);
        let values: Vec<_> = chart.rows.iter().map(|(_, values)| values[0].as_str()).collect();
        assert_eq!((values, chart.legend[0].now.as_str(), chart.top.as_str()), (vec!["7", "5"], "7", "7"));
        let many: Vec<_> = (0..99).map(|n| (n * 10, n)).collect();
        assert_eq!(drawn(&many).rows.len(), ROWS);
        let young = drawn(&[(980, 1), (990, 1)]);
        assert!(young.svg.contains("points=\"833,"), "its time begins twelve steps ago: {}", young.svg);
    }
}
