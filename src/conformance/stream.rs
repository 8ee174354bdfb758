//! Reads a stream of server-sent events as a browser would: no headers of ours but `Accept` and `Last-Event-ID`.

use std::io::Read;
use std::time::{Duration, Instant};

/// What a stream answered, and what it sent before it was let go.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub status: u16,
    pub content_type: String,
    pub cache_control: String,
    pub events: Vec<Event>,
    /// Lines that only keep the connection alive.
    pub comments: usize,
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` if the stream does not say.
    pub name: String,
    pub id: Option<String>,
    pub data: String,
}

/// Opens a stream and listens until the first event, the end of the patience, or the stream's.
pub fn listen(url: &str, patience: Duration) -> Result<Heard, Box<ureq::Error>> {
    let config = ureq::Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false);
    let agent: ureq::Agent = config.max_redirects(0).build().into();
    let mut answer = agent.get(url).header("accept", "text/event-stream").call()?;
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase()
    };
    let mut heard = Heard {
        status: answer.status().as_u16(),
        content_type: header("content-type"),
        cache_control: header("cache-control"),
        ..Heard::default()
    };
    if heard.status != 200 || !heard.content_type.starts_with("text/event-stream") {
        return Ok(heard);
    }
    let (began, mut text, mut buffer) = (Instant::now(), Vec::new(), [0u8; 1024]);
    let mut reader = answer.body_mut().as_reader();
    while began.elapsed() < patience && heard.events.is_empty() {
        // Silence until the end of the patience is no mistake.
        let Ok(count @ 1..) = reader.read(&mut buffer) else { break };
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        (heard.events, heard.comments) = parse(&String::from_utf8_lossy(&text));
    }
    Ok(heard)
}

/// The whole events in a text, and how many comments there are.
fn parse(text: &str) -> (Vec<Event>, usize) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut comments) = (Vec::new(), 0);
    let (mut event, mut data) = (Event::default(), Vec::new());
    // What follows the last line feed has not come to its end.
    for line in text.rsplit_once('\n').map_or("", |(whole, _)| whole).split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                if !data.is_empty() {
                    event.data = data.join("\n");
                    if event.name.is_empty() {
                        event.name = "message".to_owned();
                    }
                    events.push(std::mem::take(&mut event));
                    data.clear();
                }
                event = Event::default();
            }
            "" => comments += 1,
            "event" => event.name = value.to_owned(),
            "id" => event.id = Some(value.to_owned()),
            "data" => data.push(value.to_owned()),
            _ => {}
        }
    }
    (events, comments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whole() {
        let event = |name: &str, id: Option<&str>, data: &str| Event {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        assert_eq!(parse("data: a\n\n"), (vec![event("message", None, "a")], 0));
        assert_eq!(parse("data: a\n"), (vec![], 0));
        assert_eq!(parse(": hello\n\nid: 7\nevent: x\ndata:a\ndata: b\n\n"), (vec![event("x", Some("7"), "a\nb")], 1));
        assert_eq!(parse("id: 7\r\ndata: a\r\n\r\nretry: 1\r\n\r\n"), (vec![event("message", Some("7"), "a")], 0));
    }
}
