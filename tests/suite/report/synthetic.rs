//! Reports that no database had to make: of any size, with every class, and with names that somebody chose to hurt.

use std::collections::BTreeMap;

use changeover::allocation::{
    Bucket, ChargeClass, ClassTotal, Comparison, ControlTotal, EffectiveSource, ExceptionLine, Explanation, Minor,
    Mover, Part, PayersTotal, SideTotal, Trend, Wording,
};
use changeover::observations::Latency;
use changeover::primitives::{ChangeName, Instant};
use changeover::report::{Basis, Beside, Observed, Report, Subject, TrendPoint};

/// Names as people and attackers choose them.
pub const NAMES: [&str; 10] = [
    "ann",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "=HYPERLINK(\"x\",\"y\")",
    "東京動画株式会社",
    "شركة الفيديو",
    "a-very-long-identifier-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "🎬 Zoë & Søn, \"Ltd.\"",
    "\u{202e}gnp.exe",
    "</style><b>'x'</b>\u{0}\r\n",
];

pub const CURRENCIES: [(&str, u16); 12] = [
    ("EUR", 2),
    ("USD", 2),
    ("JPY", 0),
    ("KWD", 3),
    ("CLF", 4),
    ("GBP", 2),
    ("CHF", 2),
    ("SEK", 2),
    ("VND", 0),
    ("TND", 3),
    ("BTC", 8),
    ("XYZ", 11),
];

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub periods: usize,
    pub currencies: usize,
    pub movers: usize,
    pub exceptions: usize,
    pub parts: usize,
}

pub const SMALL: Size = Size { periods: 2, currencies: 1, movers: 6, exceptions: 18, parts: 3 };

fn amount(seed: usize) -> Minor {
    let value = i128::try_from(seed * 7_919 % 1_000_003 * 1_003).unwrap();
    Minor::new(match seed % 5 {
        0 => -value,
        1 => 0,
        _ => value,
    })
}

fn name(seed: usize) -> String {
    let name = NAMES[seed % NAMES.len()];
    if seed < NAMES.len() { name.to_owned() } else { format!("{name} {seed}") }
}

fn period(number: usize) -> String {
    format!("{}-{:02}", 2024 + number / 12, number % 12 + 1)
}

fn wrong_classes() -> Vec<ChargeClass> {
    ChargeClass::ALL.into_iter().filter(|class| class.is_wrong()).collect()
}

fn total(seed: usize, currency: &str, period: &str, differs: bool) -> ControlTotal {
    let amount = Minor::new(i128::try_from(seed * 1_234_567 + 89).unwrap());
    let side = SideTotal { charges: 40_000, rows: 40_000, amount };
    let new = SideTotal { rows: 91_234, ..side };
    let wrong = SideTotal { charges: 39_998, amount: amount - Minor::new(101), ..new };
    ControlTotal {
        period: period.to_owned(),
        currency: currency.to_owned(),
        charges: 40_000,
        amount,
        old: side,
        new: if differs { wrong } else { new },
        effective: side,
        on_new: 12_345,
        on_new_amount: Minor::new(5),
        without_group: 3,
    }
}

fn exception(seed: usize, class: ChargeClass, size: Size) -> ExceptionLine {
    let (currency, _) = CURRENCIES[seed % size.currencies];
    let is_orphan = class == ChargeClass::Orphan;
    let part = |number: usize| Part {
        payer: (number % 7 != 6).then(|| name(seed + number)),
        old_rows: u64::from(number == 0),
        old: if number == 0 { amount(seed) } else { Minor::ZERO },
        new_rows: 1 + u64::from(class == ChargeClass::Duplicate),
        new: amount(seed + number),
        expected: number.is_multiple_of(2),
    };
    ExceptionLine {
        charge_id: format!("{}-{seed:07}", NAMES[seed % NAMES.len()]),
        class,
        period: (!is_orphan).then(|| period(seed % size.periods)),
        currency: (!is_orphan).then(|| currency.to_owned()),
        amount: (!is_orphan).then(|| amount(seed)),
        old_amount: amount(seed),
        new_amount: amount(seed + 1),
        effective_amount: amount(seed),
        parts: (0..size.parts).map(part).collect(),
        parts_total: u64::try_from(size.parts).unwrap() + 1,
    }
}

/// A comparison of so much, with wrong charges of every class unless there are no exceptions.
pub fn comparison(size: Size) -> Comparison {
    let wrong = wrong_classes();
    let currencies = &CURRENCIES[..size.currencies];
    let is_wrong = size.exceptions > 0;
    let periods: Vec<String> = (0..size.periods).map(period).collect();
    let totals = periods.iter().enumerate().flat_map(|(number, period)| {
        let of = move |(place, (currency, _)): (usize, &(&str, u16))| {
            total(number * 17 + place, currency, period, is_wrong && number == 1 && place == 0)
        };
        currencies.iter().enumerate().map(of)
    });
    let wrong_each = u64::try_from(size.exceptions.div_ceil(wrong.len() * currencies.len())).unwrap().max(3);
    let mut classes: Vec<ClassTotal> = Vec::new();
    for class in ChargeClass::ALL.into_iter().filter(|class| is_wrong || !class.is_wrong()) {
        for (place, (currency, _)) in currencies.iter().enumerate() {
            let has_place = class != ChargeClass::Orphan;
            classes.push(ClassTotal {
                class,
                period: has_place.then(|| periods[place % periods.len()].clone()),
                currency: has_place.then(|| (*currency).to_owned()),
                charges: if class.is_wrong() { wrong_each } else { 13_000 },
                amount: amount(place + 2),
            });
        }
    }
    let wrong_charges: u64 = classes.iter().filter(|total| total.class.is_wrong()).map(|total| total.charges).sum();
    let exceptions: Vec<ExceptionLine> =
        (0..size.exceptions).map(|seed| exception(seed, wrong[seed % wrong.len()], size)).collect();
    Comparison {
        effective: EffectiveSource::View,
        exponents: currencies
            .iter()
            .filter(|(currency, _)| *currency != "XYZ")
            .map(|&(c, e)| (c.to_owned(), e))
            .collect::<BTreeMap<_, _>>(),
        totals: totals.collect(),
        exceptions_total: wrong_charges,
        classes,
        payers: currencies.iter().enumerate().map(|(place, (currency, _))| payers(place, currency)).collect(),
        movers: currencies
            .iter()
            .flat_map(|(currency, _)| (0..size.movers).map(move |seed| mover(seed, currency)))
            .collect(),
        histogram: currencies.iter().flat_map(|(currency, _)| histogram(currency)).collect(),
        exceptions,
        asked: Vec::new(),
    }
}

fn payers(place: usize, currency: &str) -> PayersTotal {
    let old = Minor::new(i128::try_from(place * 1_000_000 + 98_765_432).unwrap());
    let moved = Minor::new(23_456_789);
    PayersTotal {
        currency: currency.to_owned(),
        payers: 54_321,
        changed: 4_321,
        old,
        moved_out: moved,
        moved_in: moved,
        new: old,
    }
}

fn mover(seed: usize, currency: &str) -> Mover {
    let (old, moved_in) = (amount(seed * 3 + 2), amount(seed * 5 + 3));
    let moved_out = amount(seed * 2 + 4);
    Mover {
        currency: currency.to_owned(),
        payer: (seed != 3).then(|| name(seed)),
        old,
        moved_out,
        moved_in,
        new: old - moved_out + moved_in,
        charges: 17,
    }
}

fn histogram(currency: &str) -> Vec<Bucket> {
    let bucket = |trend, digits: u16, payers| Bucket {
        currency: currency.to_owned(),
        trend,
        digits,
        payers,
        amount: Minor::new(i128::from(digits) * 1_000),
    };
    let less = (1..=8).rev().map(|digits| bucket(Trend::Less, digits, u64::from(digits) * 31));
    let more = (1..=8).map(|digits| bucket(Trend::More, digits, u64::from(9 - digits) * 47));
    less.chain([bucket(Trend::Same, 0, 50_000)]).chain(more).collect()
}

pub fn subject(title: &str) -> Subject {
    Subject {
        change: ChangeName::new("billing-allocation").unwrap(),
        title: title.to_owned(),
        file_sha256: "ab".repeat(32),
        basis: Basis::Installed { stage: String::from("live") },
        configuration_version: Some(7),
        as_of: Instant::parse("2026-12-01T06:00:00Z").unwrap(),
        periods: Vec::new(),
        declared_losses: Vec::new(),
    }
}

/// One explanation that holds, one that more charges fall under than it may cover, and one that is over.
pub fn explanations() -> Vec<Explanation> {
    let explanation = |id: &str, class: ChargeClass, expires: &str, max_count: u64| Explanation {
        id: id.to_owned(),
        wording: Wording {
            class,
            period: None,
            currency: (class != ChargeClass::Orphan).then(|| String::from("EUR")),
            charges: Vec::new(),
            reason_code: String::from("legacy-import"),
            text: format!("Imported in 2019 without a payer; {} is asked. <i>Ticket</i> FIN-204", NAMES[4]),
            owner: String::from("Grace Hopper"),
            expires: expires.parse().unwrap(),
            max_count,
        },
    };
    vec![
        explanation("e1", ChargeClass::Orphan, "2027-01-31", 1_000),
        explanation("e2", ChargeClass::Unallocated, "2027-01-31", 2),
        explanation("e3", ChargeClass::Currency, "2026-11-30", 9),
    ]
}

pub fn trend() -> Vec<TrendPoint> {
    let point = |day: u32, exceptions: u64, unexplained: u64| TrendPoint {
        as_of: Instant::parse(&format!("2026-11-{day:02}T06:00:00Z")).unwrap(),
        sha256: format!("{day:02}").repeat(32),
        clean: unexplained == 0,
        exceptions,
        unexplained,
    };
    vec![point(2, 412, 412), point(9, 220, 180), point(16, 36, 12), point(23, 24, 0), point(30, 0, 0)]
}

/// Two operations: one of which differs, one without durations.
pub fn observations() -> Vec<Observed> {
    let latency = |p50: u64| Latency { count: 1_900, p50_us: Some(p50), p95_us: Some(p50 * 4), p99_us: Some(p50 * 9) };
    let observed = |operation: &str, mismatches: u64, old: Latency, new: Latency| Observed {
        operation: operation.to_owned(),
        compared: 2_000,
        mismatches,
        ignored: 31,
        errors_old: 0,
        errors_new: mismatches.min(2),
        calls: 20_000,
        latency_old: old,
        latency_new: new,
    };
    vec![
        observed("invoice/total", 3, latency(1_830), latency(2_210)),
        observed("payers-of-charge", 0, Latency::default(), Latency::default()),
    ]
}

/// A report with everything in it.
pub fn report(title: &str, size: Size) -> Report {
    let earlier = Report::new(
        Subject { as_of: Instant::parse("2026-11-30T06:00:00Z").unwrap(), ..subject(title) },
        comparison(Size { exceptions: size.exceptions.min(4), ..size }),
        Beside::default(),
    );
    let beside = Beside {
        explanations: if size.exceptions > 0 { explanations() } else { Vec::new() },
        earlier: Some(earlier.unwrap()),
        trend: trend(),
        observations: observations(),
        ..Beside::default()
    };
    Report::new(subject(title), comparison(size), beside).unwrap()
}

/// A report on nothing at all.
pub fn empty() -> Report {
    let nothing = Comparison {
        effective: EffectiveSource::Old,
        exponents: BTreeMap::new(),
        totals: Vec::new(),
        classes: Vec::new(),
        payers: Vec::new(),
        movers: Vec::new(),
        histogram: Vec::new(),
        exceptions_total: 0,
        exceptions: Vec::new(),
        asked: Vec::new(),
    };
    Report::new(subject("Nothing yet"), nothing, Beside::default()).unwrap()
}
