//! Reads a page as strictly as XML: every element closed in its turn, every attribute quoted, every id once and every reference to one that
//! is there. Browsers forgive; a page that needs to be forgiven reads differently in each of them.

use std::collections::BTreeSet;

/// One start tag.
#[derive(Debug, Clone)]
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

const VOID: [&str; 5] = ["meta", "input", "br", "hr", "img"];
const RAW: [&str; 2] = ["style", "script"];

/// All start tags of a page, or what is wrong with it.
pub fn read(page: &str) -> Result<Vec<Tag>, String> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    let (mut tags, mut open): (Vec<Tag>, Vec<String>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at])?;
        rest = &rest[at + 1..];
        let end = rest.find('>').ok_or("a tag does not end")?;
        let inside = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            let last = open.pop().ok_or_else(|| format!("</{name}> closes nothing"))?;
            if last != name {
                return Err(format!("</{name}> closes <{last}>"));
            }
            continue;
        }
        let closes_itself = inside.ends_with('/');
        let tag = start_tag(inside.trim_end_matches('/'))?;
        if RAW.contains(&tag.name.as_str()) {
            let close = format!("</{}>", tag.name);
            let end = rest.find(&close).ok_or("style or script does not end")?;
            rest = &rest[end + close.len()..];
        } else if !closes_itself && !VOID.contains(&tag.name.as_str()) {
            open.push(tag.name.clone());
        }
        tags.push(tag);
    }
    check_text(rest)?;
    if open.is_empty() { Ok(tags) } else { Err(format!("never closed: {open:?}")) }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.contains('>') {
        return Err(format!("a `>` stands free: {text}"));
    }
    for after in text.split('&').skip(1) {
        let entity = after.split(';').next().unwrap_or_default();
        let is_number = entity.strip_prefix('#').is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_number && !["amp", "lt", "gt", "quot"].contains(&entity) {
            return Err(format!("an `&` stands free: {after}"));
        }
    }
    Ok(())
}

fn start_tag(inside: &str) -> Result<Tag, String> {
    let (name, mut rest) = inside.split_once(|c: char| c.is_whitespace()).unwrap_or((inside, ""));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let key_end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let key = &rest[..key_end];
        rest = &rest[key_end..];
        let mut value = "";
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').ok_or_else(|| format!("`{key}` is not closed in <{inside}>"))?;
            value = &quoted[..end];
            rest = &quoted[end + 1..];
        } else if rest.starts_with('=') {
            return Err(format!("`{key}` is not quoted in <{inside}>"));
        }
        if key.starts_with("on") || key == "style" || key == "src" {
            return Err(format!("`{key}` in <{inside}>"));
        }
        attributes.push((key.to_owned(), value.to_owned()));
    }
    Ok(Tag { name: name.to_owned(), attributes })
}

/// What every page must have for those who cannot see it, beyond being well-formed.
pub fn check(page: &str) -> Vec<Tag> {
    let tags = read(page).unwrap_or_else(|fault| panic!("{fault}"));
    let mut ids = BTreeSet::new();
    for id in tags.iter().filter_map(|tag| tag.get("id")) {
        assert!(ids.insert(id.to_owned()), "the id {id} is there twice");
    }
    for tag in &tags {
        for reference in [tag.get("aria-labelledby"), tag.get("href").and_then(|href| href.strip_prefix('#'))] {
            assert!(reference.is_none_or(|id| ids.contains(id)), "{tag:?} refers to nothing");
        }
        assert!(tag.get("href").is_none_or(|href| href.starts_with('#')), "{tag:?} leads away");
    }
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!(count("table"), count("caption"), "each table has a caption");
    assert_eq!((count("main"), count("h1"), count("title"), count("script")), (1, 1, 1, 1));
    assert!(tags.iter().filter(|tag| tag.name == "th").all(|tag| tag.get("scope").is_some()), "each th has a scope");
    let is_labelled = |tag: &&Tag| tag.get("aria-labelledby").is_some() || tag.get("aria-label").is_some();
    assert!(tags.iter().filter(|tag| tag.name == "section").all(|tag| is_labelled(&tag)), "each section has a name");
    let headings: Vec<usize> = tags.iter().filter_map(|tag| tag.name.strip_prefix('h')?.parse().ok()).collect();
    assert!(headings.windows(2).all(|pair| pair[1] <= pair[0] + 1), "headings skip a level: {headings:?}");
    tags
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    let page = |body: &str| format!("<!DOCTYPE html><p>{body}</p>");
    assert!(read(&page("a &amp; <b title=\"x\">b</b><br>")).is_ok());
    for wrong in [
        "<b>",
        "</b>",
        "<b><i></b></i>",
        "a & b",
        "<b title=x></b>",
        "<b onclick=\"x\"></b>",
        "a > b",
        "<i src=\"x\"></i>",
    ] {
        assert!(read(&page(wrong)).is_err(), "{wrong}");
    }
}
