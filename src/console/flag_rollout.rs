//! `/console/flags/{key}/rollout?rule=N`: gives a variant another share of a rule. First it is looked who would move; what is written is
//! what was looked at, and only over the version that was seen.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::flag_facts::{Known, Share, moves, rules};
use super::flag_look::{Look, Whom, look};
use super::flag_write::{Confirm, Typed, write};
use super::form::{Fields, Sent};
use super::page::{Frame, html_with};
use super::session::{Member, Signed};
use crate::database::DatabaseConnection;
use crate::flags::words::who;
use crate::flags::{Flag, Percent, RolloutStep, Serve, ShareStep, Stepped};
use crate::http::AppState;
use crate::http::api::flags::value;
use crate::http::auth::{Admin, Viewer};
use crate::http::problem::{Code, Problem};
use crate::primitives::{FlagKey, VariantName};
use crate::store::Origin;
use crate::store::StoreError;
use crate::store::flag_rollouts::{self, Stepping};
use crate::store::protection::Authority;

/// What is wished.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    rule: usize,
    variant: String,
    /// As it was typed; wins over the slider.
    percent: String,
    slide: String,
    donor: String,
    cohort: String,
    users: String,
    /// There as soon as somebody has pressed the button.
    look: String,
}

#[derive(Template)]
#[template(path = "console/flag_rollout.html")]
struct RolloutPage {
    frame: Frame,
    key: String,
    version: i64,
    rule: usize,
    whom: String,
    is_new_rule: bool,
    bar: Vec<Share>,
    /// Each variant, whether it is the chosen one, and its share now.
    variants: Vec<(String, bool, Percent)>,
    donors: Vec<(String, bool)>,
    percent: String,
    slide: String,
    look: Look,
    /// What a step would do, in words; nothing before somebody asks.
    step: Option<StepShown>,
    error: Option<String>,
    confirm: Confirm,
}

struct StepShown {
    variant: String,
    donor: String,
    before: Percent,
    after: Percent,
    told: Vec<String>,
    is_nothing: bool,
}

/// The form, and who would move if something is wished already.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    wish: Query<Wish>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, (key.into_inner(), wish.into_inner()), Typed::default()).await
}

/// The step.
pub async fn step(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    let key = key.into_inner();
    let wish = Wish::sent(&sent.fields);
    let seen: Option<i64> = sent.fields.raw("version").parse().ok();
    let outcome = match (wish.step(), seen) {
        (Ok(step), Some(seen)) => {
            let asked = key.clone();
            let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
                flag_rollouts::step(conn, &asked, Stepping { step: &step, seen: Some(seen), authority }, origin)
            };
            write(&request, &sent, &state, (&key, "rolled"), work).await
        }
        (Err(problem), _) => Err(problem),
        (_, None) => {
            Err(Problem::new(Code::InvalidValue, "The form says no version of the flag: open its page again."))
        }
    };
    match outcome {
        Ok(done) => Ok(done),
        Err(problem) => {
            let typed = Typed::refused(&sent.fields, problem);
            answer(&request, sent.signed(), &state, (key, wish), typed).await
        }
    }
}

impl Wish {
    fn sent(fields: &Fields) -> Self {
        let raw = |name: &str| fields.raw(name).to_owned();
        Self {
            rule: fields.raw("rule").parse().unwrap_or(usize::MAX),
            variant: raw("variant"),
            percent: raw("percent"),
            donor: raw("donor"),
            cohort: raw("cohort"),
            users: raw("users"),
            slide: String::new(),
            look: String::from("yes"),
        }
    }

    fn share(&self) -> &str {
        Some(self.percent.trim()).filter(|percent| !percent.is_empty()).unwrap_or(self.slide.trim())
    }

    fn step(&self) -> Result<RolloutStep, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidValue, detail);
        let name = |text: &str| -> Result<VariantName, Problem> {
            text.parse().map_err(|_| invalid(format!("`{text}` is no variant's name.")))
        };
        let share: ShareStep = self.share().parse().map_err(|error| invalid(format!("{error}.")))?;
        let donor = Some(self.donor.trim()).filter(|donor| !donor.is_empty()).map(name).transpose()?;
        Ok(RolloutStep { rule: self.rule, variant: name(self.variant.trim())?, share, donor })
    }

    fn whom(&self) -> Whom {
        Whom { cohort: self.cohort.clone(), users: self.users.clone() }
    }
}

struct Found {
    known: Known,
    stepped: Option<Result<Stepped, Problem>>,
    look: Look,
    told: Vec<String>,
}

fn find(state: &AppState, key: &FlagKey, wish: &Wish) -> Result<Found, Problem> {
    let known = Known::get(state, key)?;
    let is_asked = !wish.look.is_empty();
    let step = || -> Result<Stepped, Problem> { Ok(known.flag.with_step(&wish.step()?).map_err(StoreError::from)?) };
    let stepped = is_asked.then(step);
    let after = stepped.as_ref().and_then(|stepped| stepped.as_ref().ok()).map(|stepped| &stepped.flag);
    let look = look(state, &known.flag, after, &wish.whom());
    let told = match after {
        Some(after) => state.store().read(|conn| moves(conn, key, Some(after)))?,
        None => Vec::new(),
    };
    Ok(Found { look, told, stepped, known })
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (key, wish): (FlagKey, Wish),
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let read = state.blocking(move |state| {
        let found = find(state, &key, &wish)?;
        Ok((found, key, wish))
    });
    let (Found { known, stepped, look, told }, key, wish) = read.await?;
    let flag = &known.flag;
    check_rule(flag, wish.rule)?;
    let mut status = typed.status();
    let (step, error) = match stepped {
        Some(Ok(stepped)) => (Some(shown(flag, &stepped, &wish, told)), None),
        Some(Err(problem)) => {
            status = if status.is_success() { actix_web::ResponseError::status_code(&problem) } else { status };
            (None, Some(problem.detail().to_owned()))
        }
        None => (None, None),
    };
    let chosen = chosen(flag, &wish);
    let share = share_of(flag, wish.rule, &chosen);
    let percent = wish.share().to_owned();
    let slide = if percent.parse::<Percent>().is_ok() { percent.clone() } else { share.to_string() };
    let mut shown_rules = rules(&known);
    let draft = value(&known.stored.data);
    let page = RolloutPage {
        frame: Frame::new(request, format!("Roll out: {key}"), signed),
        // A page that is shown again after a refusal is about the flag as it is by now, and says so.
        version: known.stored.version,
        rule: wish.rule,
        is_new_rule: wish.rule == flag.rules().len(),
        whom: draft.pointer(&format!("/rules/{}", wish.rule)).map_or_else(|| String::from("whoever is left"), who),
        bar: if wish.rule < shown_rules.len() { shown_rules.swap_remove(wish.rule).bar } else { Vec::new() },
        variants: flag
            .variants()
            .iter()
            .map(|one| {
                let name = one.name.to_string();
                let (is_chosen, share) = (name == chosen, share_of(flag, wish.rule, &name));
                (name, is_chosen, share)
            })
            .collect(),
        donors: flag.variants().iter().map(|one| (one.name.to_string(), one.name.as_str() == wish.donor)).collect(),
        percent,
        slide,
        look,
        step,
        error,
        confirm: typed.confirm(Some(flag)),
        key: key.to_string(),
    };
    html_with(&page, status)
}

fn check_rule(flag: &Flag, rule: usize) -> Result<(), Problem> {
    let rules = flag.rules().len();
    if rule > rules {
        let detail = format!("`{}` has {rules} rules, and none with the number {rule}.", flag.key());
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    if matches!(flag.rules().get(rule).map(|rule| &rule.serve), Some(Serve::Schedule(_))) {
        let detail = "The rule serves by a schedule, which has no shares: edit the flag as JSON.";
        return Err(Problem::new(Code::Refused, detail));
    }
    Ok(())
}

/// The variant whose share is to change: the one that is asked for, otherwise the first that is not the default.
fn chosen(flag: &Flag, wish: &Wish) -> String {
    if flag.find_variant(&wish.variant).is_some() {
        return wish.variant.clone();
    }
    let other = flag.variants().iter().map(|one| &one.name).find(|name| *name != flag.default_variant());
    other.unwrap_or(flag.default_variant()).to_string()
}

/// A variant's share of a rule as it is.
fn share_of(flag: &Flag, rule: usize, variant: &str) -> Percent {
    let everything = Percent::of_buckets(u32::MAX);
    let nothing = Percent::of_buckets(0);
    match flag.rules().get(rule).map(|rule| &rule.serve) {
        Some(Serve::Rollout(rollout)) => {
            let name = flag.find_variant(variant).map(|one| rollout.share(&one.name));
            Percent::of_buckets(name.unwrap_or(0))
        }
        Some(Serve::Variant(name)) if name.as_str() == variant => everything,
        None if flag.default_variant().as_str() == variant => everything,
        Some(_) | None => nothing,
    }
}

fn shown(flag: &Flag, stepped: &Stepped, wish: &Wish, told: Vec<String>) -> StepShown {
    StepShown {
        variant: wish.variant.trim().to_owned(),
        donor: stepped.donor.to_string(),
        before: stepped.before,
        after: stepped.after,
        told,
        is_nothing: stepped.flag == *flag,
    }
}
