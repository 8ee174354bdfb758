//! Evaluations: the answers of the contexts asked for lately are kept, served from memory and renewed off the caller's path.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};
use std::time::Duration;

use serde_json::Value;

use crate::availability::Availability;
use crate::clock::{self, now};
use crate::context::Context;
use crate::details::{ErrorCode, FlagValue, Outcome};
use crate::error::Error;
use crate::http::{Answer, Request, Transport};
use crate::kept::{Kept, parsed, read_answer};
use crate::lru::Lru;
use crate::state::{Saved, State};
use crate::sync::{lock, read, wait_while, write};
use crate::url::quoted;
use crate::workers::{Workers, spawn};

const BULK: &str = "/ofrep/v1/evaluate/flags";
const BYTES_MAX: usize = 32 << 20;
const RECENT_S: f64 = 60.0;
const RENEWALS_AT_ONCE: usize = 4;
const AGE_S_MAX_WITHOUT_EVENTS: f64 = 10.0;

struct Cache {
    contexts: Lru<Arc<str>, Arc<Kept>>,
    bytes: usize,
}

pub(crate) struct Flags {
    transport: Arc<Transport>,
    max_age: f64,
    contexts_max: usize,
    pub(crate) server: Availability,
    workers: Workers,
    cache: RwLock<Cache>,
    asking: Mutex<HashMap<Arc<str>, Arc<Asking>>>,
    has_events: AtomicBool,
    on_first_answer: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// How many changes were told of, and the last one's tag.
    told: Mutex<(u64, Option<String>)>,
    pub(crate) state: State,
}

/// Somebody asks for a context's answers.
#[derive(Default)]
struct Asking {
    is_done: Mutex<bool>,
    changed: Condvar,
}

impl Flags {
    pub(crate) fn new(
        transport: Arc<Transport>,
        max_age: Duration,
        contexts_max: usize,
        state_path: Option<PathBuf>,
    ) -> Arc<Self> {
        let state = State::new(state_path, transport.url());
        Arc::new(Self {
            transport,
            max_age: max_age.as_secs_f64(),
            contexts_max: contexts_max.max(1),
            server: Availability::new(),
            workers: Workers::new("changeover-renewals", RENEWALS_AT_ONCE),
            cache: RwLock::new(Cache { contexts: Lru::new(), bytes: 0 }),
            asking: Mutex::default(),
            has_events: AtomicBool::new(false),
            on_first_answer: OnceLock::new(),
            told: Mutex::default(),
            state,
        })
    }

    /// What is done after each answer of the server.
    pub(crate) fn on_answer(&self, listener: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_first_answer.set(Box::new(listener));
    }

    pub(crate) fn connected(&self, is_connected: bool) {
        self.has_events.store(is_connected, Ordering::Release);
    }

    // ── what callers ask ───────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn evaluate<T: FlagValue, R: Outcome<T>>(
        self: &Arc<Self>,
        key: &str,
        default: T,
        context: &Context,
    ) -> R {
        let identity = match context.identity() {
            Ok(identity) => identity,
            Err(why) => return R::failed(default, ErrorCode::InvalidContext, why),
        };
        match self.known(identity) {
            Some((kept, age)) => self.served(&kept, age, key, default),
            None => self.first(identity, key, default),
        }
    }

    /// The same, if nobody needs to wait for it; the default back otherwise.
    pub(crate) fn evaluate_known<T: FlagValue, R: Outcome<T>>(
        self: &Arc<Self>,
        key: &str,
        default: T,
        context: &Context,
    ) -> Result<R, T> {
        match context.identity() {
            Err(why) => Ok(R::failed(default, ErrorCode::InvalidContext, why)),
            Ok(identity) => match self.known(identity) {
                Some((kept, age)) => Ok(self.served(&kept, age, key, default)),
                None => Err(default),
            },
        }
    }

    /// Asks the server for one flag, now, and keeps nothing.
    pub(crate) fn evaluate_now<T: FlagValue, R: Outcome<T>>(
        self: &Arc<Self>,
        key: &str,
        default: T,
        context: &Context,
    ) -> R {
        let identity = match context.identity() {
            Ok(identity) => identity,
            Err(why) => return R::failed(default, ErrorCode::InvalidContext, why),
        };
        if !self.server.may_be_asked() {
            return self.last_known(identity, key, default);
        }
        let posted = self.post(&format!("{BULK}/{}", quoted(key)), identity, None);
        if let Ok(answer) = &posted
            && let Some(item @ Value::Object(_)) = parsed(answer)
        {
            let has_code = item.get("errorCode").is_some_and(|code| !code.is_null());
            if answer.status == 200 || (matches!(answer.status, 400 | 404 | 500) && has_code) {
                self.answered();
                return R::served(Some(&item), key, default, false);
            }
            if answer.status == 404 {
                self.answered();
                return R::served(None, key, default, false);
            }
        }
        self.failed(&posted);
        self.last_known(identity, key, default)
    }

    /// The answers and their age, if nobody needs to wait for them.
    fn known(self: &Arc<Self>, identity: &Arc<str>) -> Option<(Arc<Kept>, f64)> {
        let kept = Arc::clone(read(&self.cache).contexts.get(&**identity)?);
        let now = now();
        let (age, since_used) = (now - kept.at, now - kept.used.get());
        let is_due = kept.is_due();
        if is_due || age > self.age_max() {
            if age > 10.0 * self.max_age || (is_due && since_used > RECENT_S) {
                return None;
            }
            self.renew(identity, &kept);
        }
        if since_used > 1.0 {
            kept.used.set(now);
            write(&self.cache).contexts.touch(&**identity);
        }
        Some((kept, age))
    }

    fn age_max(&self) -> f64 {
        if self.has_events.load(Ordering::Acquire) { self.max_age } else { self.max_age.min(AGE_S_MAX_WITHOUT_EVENTS) }
    }

    fn served<T, R: Outcome<T>>(&self, kept: &Kept, age: f64, key: &str, default: T) -> R {
        if let Some((code, message)) = &kept.error {
            return R::failed(default, *code, message);
        }
        let is_stale = self.server.has_failed() && (kept.is_from_disk || age > self.max_age);
        R::served(kept.items.get(key), key, default, is_stale)
    }

    fn first<T, R: Outcome<T>>(self: &Arc<Self>, identity: &Arc<str>, key: &str, default: T) -> R {
        match self.asked(identity) {
            Some(kept) => self.served(&kept, now() - kept.at, key, default),
            None => self.last_known(identity, key, default),
        }
    }

    fn last_known<T, R: Outcome<T>>(&self, identity: &Arc<str>, key: &str, default: T) -> R {
        match self.kept(identity).or_else(|| self.on_disk(identity)) {
            Some(kept) => self.served(&kept, f64::INFINITY, key, default),
            None => {
                let (code, message) = self.server.failure();
                R::failed(default, code, &message)
            }
        }
    }

    fn kept(&self, identity: &str) -> Option<Arc<Kept>> {
        read(&self.cache).contexts.get(identity).map(Arc::clone)
    }

    // ── asking the server ──────────────────────────────────────────────────────────────────────────────────────────

    /// The newest answers, asked for now; none if they cannot be had. Whoever needs the same ones waits for the first one's.
    fn asked(self: &Arc<Self>, identity: &Arc<str>) -> Option<Arc<Kept>> {
        let (asking, is_first) = {
            let mut all = lock(&self.asking);
            match all.get(identity) {
                Some(asking) => (Arc::clone(asking), false),
                None => {
                    let asking = Arc::new(Asking::default());
                    all.insert(Arc::clone(identity), Arc::clone(&asking));
                    (asking, true)
                }
            }
        };
        if !is_first {
            let patience = self.transport.timeout + Duration::from_secs(1);
            drop(wait_while(&asking.changed, lock(&asking.is_done), patience, |is_done| !*is_done));
            return self.kept(identity).filter(|kept| !kept.is_from_disk && now() - kept.at < self.max_age);
        }
        let kept = self.fetch(identity, true);
        lock(&self.asking).remove(identity);
        *lock(&asking.is_done) = true;
        asking.changed.notify_all();
        if let Some(kept) = &kept
            && kept.is_due()
        {
            self.renew(identity, kept);
        }
        kept
    }

    fn renew(self: &Arc<Self>, identity: &Arc<str>, kept: &Arc<Kept>) {
        if kept.is_renewing.load(Ordering::Acquire) || (self.server.has_failed() && !self.server.may_be_asked()) {
            return;
        }
        self.server.given_up();
        if kept.is_renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (flags, identity, old) = (Arc::clone(self), Arc::clone(identity), Arc::clone(kept));
        let is_under_way = self.workers.submit(move || {
            // Once more if another change was told of meanwhile.
            for _ in 0..5 {
                if flags.fetch(&identity, false).is_none_or(|renewed| !renewed.is_due()) {
                    break;
                }
            }
            old.is_renewing.store(false, Ordering::Release);
        });
        if !is_under_way {
            kept.is_renewing.store(false, Ordering::Release);
        }
    }

    fn fetch(self: &Arc<Self>, identity: &Arc<str>, is_used: bool) -> Option<Arc<Kept>> {
        if !self.server.may_be_asked() {
            return None;
        }
        let (generation, told) = lock(&self.told).clone();
        let kept = self.kept(identity).or_else(|| self.on_disk(identity));
        let path = told.map_or_else(|| BULK.to_owned(), |told| format!("{BULK}?flagConfigEtag={}", quoted(&told)));
        let posted = self.post(&path, identity, kept.as_ref().and_then(|kept| kept.etag.as_deref()));
        let Some(renewed) = posted.as_ref().ok().and_then(|answer| read_answer(answer, kept.as_deref())) else {
            self.failed(&posted);
            return None;
        };
        let renewed = Arc::new(renewed);
        self.keep(identity, &renewed, is_used, generation);
        self.answered();
        Some(renewed)
    }

    fn post(&self, path: &str, identity: &str, etag: Option<&str>) -> Result<Answer, Error> {
        let body = format!("{{\"context\":{identity}}}");
        let json = ("Content-Type", "application/json");
        match etag {
            None => self.transport.request(&Request::post(path, body.as_bytes())),
            Some(etag) => {
                let headers = [json, ("If-None-Match", etag)];
                self.transport.request(&Request { headers: &headers, ..Request::post(path, body.as_bytes()) })
            }
        }
    }

    fn answered(&self) {
        self.server.answered();
        if let Some(listener) = self.on_first_answer.get() {
            listener();
        }
    }

    fn failed(&self, posted: &Result<Answer, Error>) {
        let answer = match posted {
            Ok(answer) => answer,
            Err(error) => return self.server.failed(ErrorCode::ProviderNotReady, error.to_string(), None),
        };
        let code = if matches!(answer.status, 401 | 403) { ErrorCode::General } else { ErrorCode::ProviderNotReady };
        let problem = parsed(answer).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).filter(|why| !why.is_empty());
        let why = text("errorDetails").or_else(|| text("detail")).map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("the server answers {}{why}", answer.status);
        self.server.failed(code, message, answer.header("retry-after").and_then(clock::retry_after));
    }

    // ── what is kept ───────────────────────────────────────────────────────────────────────────────────────────────

    fn keep(self: &Arc<Self>, identity: &Arc<str>, kept: &Arc<Kept>, is_used: bool, generation: u64) {
        {
            let mut cache = write(&self.cache);
            let before = cache.contexts.insert(Arc::clone(identity), Arc::clone(kept));
            cache.bytes += kept.size;
            if let Some(before) = &before {
                cache.bytes = cache.bytes.saturating_sub(before.size);
            }
            if is_used {
                cache.contexts.touch(&**identity);
            } else if let Some(before) = before {
                kept.used.set(before.used.get());
            }
            while cache.contexts.len() > 1 && (cache.contexts.len() > self.contexts_max || cache.bytes > BYTES_MAX) {
                let dropped = cache.contexts.pop();
                cache.bytes = cache.bytes.saturating_sub(dropped.map_or(0, |dropped| dropped.size));
            }
            // A change that is told of from here on finds it in the cache.
            if lock(&self.told).0 != generation {
                kept.is_due.store(true, Ordering::Release);
            }
        }
        if kept.error.is_none() {
            self.changed();
        }
    }

    fn on_disk(&self, identity: &str) -> Option<Arc<Kept>> {
        let found = self.state.answers(identity)?;
        let mut kept = Kept::new(found.items, found.etag, f64::NEG_INFINITY, found.size);
        kept.is_from_disk = true;
        Some(Arc::new(kept))
    }

    /// What is on disk is not what is known any more: it is written in a moment.
    pub(crate) fn changed(self: &Arc<Self>) {
        let Some(time) = self.state.schedule() else { return };
        let flags = Arc::clone(self);
        let is_under_way = spawn("changeover-state", move || {
            if flags.state.wait(time) {
                flags.state.save(|| flags.to_save());
            }
        });
        if !is_under_way {
            self.state.unscheduled();
        }
    }

    /// The kept answers, the least recently used first, with their age.
    fn to_save(&self) -> Vec<Saved> {
        let now = now();
        let cache = read(&self.cache);
        let sound = cache.contexts.iter().filter(|(_, kept)| kept.error.is_none());
        let saved = sound.map(|(identity, kept)| Saved {
            identity: Arc::clone(identity),
            items: Arc::clone(&kept.items),
            etag: kept.etag.clone(),
            age: now - kept.at,
        });
        saved.collect()
    }

    // ── changes ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The server says that its configuration has changed.
    pub(crate) fn told(self: &Arc<Self>, etag: Option<String>) {
        let now = now();
        let mut recent = Vec::new();
        {
            let cache = read(&self.cache);
            let mut told = lock(&self.told);
            *told = (told.0 + 1, etag);
            for (identity, kept) in cache.contexts.iter() {
                kept.is_due.store(true, Ordering::Release);
                if now - kept.used.get() <= RECENT_S {
                    recent.push((kept.used.get(), Arc::clone(identity), Arc::clone(kept)));
                }
            }
        }
        recent.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        for (_, identity, kept) in recent {
            self.renew(&identity, &kept);
        }
    }

    pub(crate) fn close(&self) {
        self.workers.close();
        self.state.close();
        self.state.save(|| self.to_save());
    }
}

#[cfg(test)]
impl Flags {
    /// Puts answers in as if they had been asked for.
    pub(crate) fn put(&self, context: impl Into<Context>, kept: Kept) {
        let context = context.into();
        write(&self.cache).contexts.insert(Arc::clone(context.identity().unwrap()), Arc::new(kept));
    }

    pub(crate) fn find(&self, context: impl Into<Context>) -> Option<Arc<Kept>> {
        self.kept(context.into().identity().unwrap())
    }

    pub(crate) fn kept_count_and_bytes(&self) -> (usize, usize, usize) {
        let cache = read(&self.cache);
        (cache.contexts.len(), cache.bytes, cache.contexts.iter().map(|(_, kept)| kept.size).sum())
    }

    pub(crate) fn has_stream(&self) -> bool {
        self.has_events.load(Ordering::Acquire)
    }

    pub(crate) fn changes_told(&self) -> u64 {
        lock(&self.told).0
    }
}
