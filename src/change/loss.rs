//! What a change file says of losses and of the stages' gates: `loss = { column = "reason" }` in a block, and `[stages]`.

use super::document::{Document, Section};
use super::file::{Loss, ObservationGate, Stages};
use super::mistake::shown;

/// A week: long enough to have seen each weekly job.
const QUIET_HOURS: i64 = 168;
/// A year.
const QUIET_HOURS_MAX: i64 = 8_760;

/// The losses that a block declares: in the order of the file.
pub(super) fn losses(document: &mut Document<'_>, section: &Section<'_>) -> Vec<Loss> {
    let example = "loss = { column = \"what stands there instead\" }";
    let Some((table, line)) = document.table(section, "loss", &format!("write {example}")) else { return Vec::new() };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    if entries.is_empty() {
        document.mistake(section, line, "`loss` is empty", &format!("write {example}, or remove it"));
    }
    let mut losses: Vec<Loss> = Vec::new();
    for (name, value) in entries {
        let line = document.line_at(name.span().start);
        let column: &str = name.get_ref();
        if losses.iter().any(|other| other.column.eq_ignore_ascii_case(column)) {
            document.mistake(section, line, &format!("`loss` declares {} twice", shown(column)), "remove one");
        }
        if let Some(reason) = document.text_of(section, column, value, "\"what stands there instead\"") {
            losses.push(Loss { line, column: column.to_owned(), reason: reason.value });
        }
    }
    losses
}

/// `[stages]`, all of which may be left out.
pub(super) fn stages(document: &mut Document<'_>, root: &Section<'_>) -> Stages {
    let default = Stages { sign_off: Vec::new(), observations: None, quiet_hours: QUIET_HOURS };
    let Some((table, line)) = document.table(root, "stages", "write [stages] on a line of its own") else {
        return default;
    };
    let section = Section { table, line, name: Some(String::from("[stages]")) };
    document.refuse_unknown_keys(&section, &["observations", "quiet_hours", "sign_off"]);
    let quiet = document.integer(&section, "quiet_hours", (0, QUIET_HOURS_MAX));
    let sign_off = document.texts(&section, "sign_off", "\"finance\"").map(|list| list.value).unwrap_or_default();
    let sign_off = sign_off.into_iter().map(|role| role.value).collect();
    let observations = observations(document, &section);
    Stages { sign_off, observations, quiet_hours: quiet.map_or(QUIET_HOURS, |hours| hours.value) }
}

/// `observations = { max_mismatch_percent = 0.1, min_compared = 1000, over_hours = 24 }`.
fn observations(document: &mut Document<'_>, stages: &Section<'_>) -> Option<ObservationGate> {
    let remedy = "write observations = { max_mismatch_percent = 0.1, min_compared = 1000, over_hours = 24 }";
    let (table, line) = document.table(stages, "observations", remedy)?;
    let section = Section { table, line, name: Some(String::from("[stages] observations")) };
    document.refuse_unknown_keys(&section, &["max_mismatch_percent", "min_compared", "over_hours"]);
    let percent = document.find(&section, "max_mismatch_percent").map(|value| {
        let value = value.get_ref();
        value.as_float().map(|float| float.as_str()).or_else(|| value.as_integer().map(|integer| integer.as_str()))
    });
    let percent =
        percent.map(|text| text.and_then(|text| text.parse::<f64>().ok()).filter(|p| (0.0..=100.0).contains(p)));
    if percent == Some(None) {
        document.mistake(&section, line, "`max_mismatch_percent` is no number from 0 to 100", "write such as 0.1");
    }
    let millionths = format!("{:.0}", percent.flatten().unwrap_or(0.0) * 10_000.0);
    let least = document.integer(&section, "min_compared", (1, 1_000_000_000));
    let hours = document.integer(&section, "over_hours", (1, 720));
    Some(ObservationGate {
        max_mismatch_millionths: millionths.parse().unwrap_or(0),
        min_compared: least.map_or(1_000, |least| least.value),
        over_hours: hours.map_or(24, |hours| hours.value),
    })
}

#[cfg(test)]
mod tests {
    use crate::change::ChangeFile;

    const FILE: &str = "format = 1\nname = \"x\"\n[routing]\nflag = \"x\"\n[[forward]]\ninto = \"a\"\nfrom = \"b\"\nkey = \"id\"\nquery = \"SELECT 1\"\n";

    #[test]
    fn losses_and_the_quiet_time_are_read() {
        let file = ChangeFile::parse(&format!(
            "{FILE}loss = {{ user_id = \"the owner stands for it\", a = \"b\" }}\n[stages]\nquiet_hours = 2\n"
        ))
        .unwrap();
        let losses: Vec<(&str, &str)> =
            file.blocks[0].loss.iter().map(|loss| (loss.column.as_str(), loss.reason.as_str())).collect();
        assert_eq!(losses, [("user_id", "the owner stands for it"), ("a", "b")]);
        assert_eq!(file.stages.quiet_hours, 2);
        assert_eq!(ChangeFile::parse(FILE).unwrap().stages.quiet_hours, 168);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong =
            ChangeFile::parse(&format!("{FILE}loss = {{ a = 3, b = \"\" }}\n[stages]\nquiet_hours = -1\nloud = 1\n"));
        let told: Vec<String> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told.iter().any(|told| told.contains("`quiet_hours` is `-1`")), "{told:#?}");
        let empty = ChangeFile::parse(&format!("{FILE}loss = {{}}\n")).unwrap_err();
        assert!(empty[0].to_string().contains("`loss` is empty"), "{}", empty[0]);
    }

    #[test]
    fn what_observations_must_come_to_is_read() {
        use super::ObservationGate;
        let read =
            |text: &str| ChangeFile::parse(&format!("{FILE}loss = {{ a = \"b\" }}\n[stages]\nobservations = {text}\n"));
        let gate =
            read("{ max_mismatch_percent = 0.1, min_compared = 50, over_hours = 6 }").unwrap().stages.observations;
        assert_eq!(gate, Some(ObservationGate { max_mismatch_millionths: 1_000, min_compared: 50, over_hours: 6 }));
        let told = read("{ max_mismatch_percent = 101, over_hours = 0 }").unwrap_err();
        assert_eq!(told.len(), 2, "{told:#?}");
    }
}
