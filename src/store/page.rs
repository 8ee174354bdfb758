//! Lists come in pages, by the key after which the next one begins.

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// The key of the last item seen; the page begins after it.
    pub after: Option<String>,
    /// How many items at most; capped at [`PageRequest::LIMIT_MAX`].
    pub limit: Option<u32>,
}

impl PageRequest {
    pub const LIMIT_MAX: u32 = 500;
    const LIMIT_DEFAULT: u32 = 100;

    /// Everything that fits one page.
    #[must_use]
    pub fn first() -> Self {
        Self { after: None, limit: Some(Self::LIMIT_MAX) }
    }

    fn limit(&self) -> u32 {
        self.limit.unwrap_or(Self::LIMIT_DEFAULT).clamp(1, Self::LIMIT_MAX)
    }

    /// The page of items that are all at hand, in the order of their keys.
    pub fn page_of<T>(&self, mut all: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        if let Some(after) = &self.after {
            all.retain(|item| key(item) > *after);
        }
        Page::cut(all, self, key)
    }

    /// One row more than the page holds, to know whether another page follows.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit()) + 1
    }
}

/// A part of a list; `next` is the key to go on after, if there is more.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `rows` (which may hold one row more) to the page that was asked for.
    pub(super) fn cut(mut rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(request.limit()).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { items: rows, next }
    }
}
