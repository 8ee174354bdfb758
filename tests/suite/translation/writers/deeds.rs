//! What writers do: one transaction at a time, with the effects that its journal will be held to. No deed can be refused by the
//! application's own constraints: shared rows are never deleted, and nobody touches another's own rows.

use serde_json::{Value as Json, json};

use super::{Rows, Task};
use crate::support::Random;

pub struct Deed {
    pub statements: Vec<String>,
    pub effects: Vec<Json>,
}

/// The deeds of one writer, who remembers which rows are its own.
pub struct Deeds {
    rows: Rows,
    is_new: bool,
    next_id: i64,
    /// Own charges, by id.
    charges: Vec<i64>,
    videos: Vec<i64>,
    users: Vec<i64>,
}

const INSERT_CHARGE: &str = "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor)";

impl Deeds {
    pub fn new(task: &Task) -> Self {
        Self {
            rows: task.rows,
            is_new: task.is_new,
            next_id: task.number * 10_000_000,
            charges: Vec::new(),
            videos: Vec::new(),
            users: Vec::new(),
        }
    }

    pub fn next(&mut self, random: &mut Random) -> Deed {
        let statements = if self.is_new { self.of_new_code(random) } else { self.of_old_code(random) };
        let (statements, effects) = statements;
        Deed { statements, effects }
    }

    /// What is true once a deed has been committed.
    pub fn done(&mut self, deed: &Deed) {
        for effect in &deed.effects {
            let id = effect["id"].as_i64().unwrap();
            match effect["op"].as_str().unwrap() {
                "charge" if !self.charges.contains(&id) => self.charges.push(id),
                "no charge" => self.charges.retain(|own| *own != id),
                "video" if !self.videos.contains(&id) => self.videos.push(id),
                "no video" => self.videos.retain(|own| *own != id),
                "user" if !self.users.contains(&id) => self.users.push(id),
                "no user" => self.users.retain(|own| *own != id),
                _ => {}
            }
        }
    }

    fn fresh(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn of_old_code(&mut self, random: &mut Random) -> (Vec<String>, Vec<Json>) {
        let (user, video) = (1 + below(random, self.rows.users), 1 + below(random, self.rows.videos));
        let amount = below(random, 30_000) - 8_000;
        match random.below(16) {
            0..=2 => self.add_to_counters(random),
            3 | 4 => self.insert_own_charges(random, video),
            5 | 6 => self.change_own_charge(random, amount),
            7 => (vec![format!("UPDATE videos SET user_id = {user} WHERE id = {video}")], vec![]),
            8 => {
                let charge = 1 + below(random, self.rows.charges);
                (vec![format!("UPDATE charges SET video_id = {video} WHERE id = {charge}")], vec![])
            }
            // A charge that comes and goes: everybody's.
            9 => {
                let id = self.rows.counters() + 1 + below(random, self.rows.charges - self.rows.counters());
                let upsert = format!(
                    "{INSERT_CHARGE} VALUES ({id}, {user}, {video}, '2026-11', 'EUR', {amount})
                     ON CONFLICT (id) DO UPDATE SET video_id = excluded.video_id, amount_minor = excluded.amount_minor"
                );
                (
                    vec![if random.is_one_in(2) { format!("DELETE FROM charges WHERE id = {id}") } else { upsert }],
                    vec![],
                )
            }
            10 => {
                let (id, film) = (self.fresh(), self.fresh());
                let company = format!("Käse & Söhne {id}");
                (
                    vec![
                        format!("INSERT INTO users (id, name, company) VALUES ({id}, 'own', '{company}')"),
                        format!("INSERT INTO videos (id, user_id, title) VALUES ({film}, {id}, 'own')"),
                    ],
                    vec![json!({"op": "user", "id": id, "value": company}), json!({"op": "video", "id": film})],
                )
            }
            11 => match any(random, &self.users) {
                Some(id) => {
                    let company = format!("renamed {amount}");
                    (
                        vec![format!("UPDATE users SET company = '{company}' WHERE id = {id}")],
                        vec![json!({"op": "user", "id": id, "value": company})],
                    )
                }
                None => self.add_to_counters(random),
            },
            12 => match any(random, &self.videos) {
                // An own video with a charge, given to a shared user and back.
                Some(film) => {
                    let charge = self.fresh();
                    (
                        vec![
                            format!("UPDATE videos SET user_id = {user} WHERE id = {film}"),
                            format!("{INSERT_CHARGE} VALUES ({charge}, {user}, {film}, '2026-11', 'USD', {amount})"),
                        ],
                        vec![json!({"op": "charge", "id": charge, "value": amount})],
                    )
                }
                None => self.add_to_counters(random),
            },
            13 => self.delete_own_video(random),
            14 => {
                // Many rows in one statement.
                let rest = below(random, 5);
                (vec![format!("UPDATE videos SET title = 'x{amount}' WHERE id % 5 = {rest} AND id <= 20")], vec![])
            }
            _ => {
                let (company, modulus) = (below(random, 1_000), 1 + below(random, self.rows.users));
                (vec![format!("UPDATE users SET company = 'c{company}' WHERE id = {modulus}")], vec![])
            }
        }
    }

    fn add_to_counters(&mut self, random: &mut Random) -> (Vec<String>, Vec<Json>) {
        let mut ids: Vec<i64> = (0..1 + random.below(3)).map(|_| 1 + below(random, self.rows.counters())).collect();
        ids.dedup();
        // Half of them as an ORM would do it, in one order, the others in whatever order.
        if random.is_one_in(2) {
            ids.sort_unstable();
            ids.dedup();
        }
        let amount = 1 + below(random, 99);
        let update = |id: &i64| format!("UPDATE charges SET amount_minor = amount_minor + {amount} WHERE id = {id}");
        let effect = |id: &i64| json!({"op": "count", "id": id, "value": amount});
        (ids.iter().map(update).collect(), ids.iter().map(effect).collect())
    }

    fn insert_own_charges(&mut self, random: &mut Random, video: i64) -> (Vec<String>, Vec<Json>) {
        let ids: Vec<i64> = (0..1 + random.below(4)).map(|_| self.fresh()).collect();
        let amount = below(random, 20_000) - 5_000;
        let user = 1 + below(random, self.rows.users);
        let rows: Vec<String> =
            ids.iter().map(|id| format!("({id}, {user}, {video}, '2026-11', 'EUR', {amount})")).collect();
        let effects = ids.iter().map(|id| json!({"op": "charge", "id": id, "value": amount})).collect();
        (vec![format!("{INSERT_CHARGE} VALUES {}", rows.join(", "))], effects)
    }

    fn change_own_charge(&mut self, random: &mut Random, amount: i64) -> (Vec<String>, Vec<Json>) {
        let Some(id) = any(random, &self.charges) else { return self.add_to_counters(random) };
        match random.below(4) {
            0 => (vec![format!("DELETE FROM charges WHERE id = {id}")], vec![json!({"op": "no charge", "id": id})]),
            1 => {
                let other = self.fresh();
                let effects =
                    vec![json!({"op": "no charge", "id": id}), json!({"op": "charge", "id": other, "value": amount})];
                (vec![format!("UPDATE charges SET id = {other}, amount_minor = {amount} WHERE id = {id}")], effects)
            }
            _ => (
                vec![format!("UPDATE charges SET amount_minor = {amount} WHERE id = {id}")],
                vec![json!({"op": "charge", "id": id, "value": amount})],
            ),
        }
    }

    /// Its charges are this writer's own as well, but only those that it put there.
    fn delete_own_video(&mut self, random: &mut Random) -> (Vec<String>, Vec<Json>) {
        let (Some(film), Some(owner)) = (any(random, &self.videos), any(random, &self.users)) else {
            return self.add_to_counters(random);
        };
        let other = self.fresh();
        // Its charges move to another film first.
        (
            vec![
                format!("INSERT INTO videos (id, user_id, title) VALUES ({other}, {owner}, 'next')"),
                format!("UPDATE charges SET video_id = {other} WHERE video_id = {film}"),
                format!("DELETE FROM videos WHERE id = {film}"),
            ],
            vec![json!({"op": "no video", "id": film}), json!({"op": "video", "id": other})],
        )
    }

    fn of_new_code(&mut self, random: &mut Random) -> (Vec<String>, Vec<Json>) {
        let (owner, user) = (1 + below(random, self.rows.users), 1 + below(random, self.rows.users));
        let (video, weight) = (1 + below(random, self.rows.videos), below(random, 4));
        let account = format!("(SELECT id FROM accounts WHERE owner_id = {owner})");
        match random.below(8) {
            0 | 1 => (
                vec![format!(
                    "INSERT INTO memberships (account_id, user_id, role, weight) SELECT id, {user}, 'member', {weight} FROM accounts WHERE owner_id = {owner}
                     ON CONFLICT (account_id, user_id) DO NOTHING"
                )],
                vec![],
            ),
            2 | 3 => (
                vec![format!(
                    "DELETE FROM memberships WHERE role = 'member' AND account_id = {account} AND user_id % 2 = {}",
                    user % 2
                )],
                vec![],
            ),
            4 => (
                vec![format!("UPDATE memberships SET weight = {weight} WHERE role = 'member' AND account_id = {account}")],
                vec![],
            ),
            // An owner's weight is a counter, too.
            5 => (
                vec![format!(
                    "UPDATE memberships SET weight = weight + 1 WHERE role = 'owner' AND account_id = {account} AND user_id = {owner}"
                )],
                vec![json!({"op": "weigh", "id": owner, "value": 1})],
            ),
            // Before `live` links belong to the forward blocks: new code asks, and holds the stage while it writes.
            _ => (
                vec![format!(
                    "DO $$ BEGIN IF (SELECT stage FROM changeover.change FOR SHARE) = 'live' THEN
                       UPDATE video_accounts SET account_id = {account} WHERE video_id = {video}; END IF; END $$"
                )],
                vec![],
            ),
        }
    }
}

fn below(random: &mut Random, limit: i64) -> i64 {
    random.below(limit.unsigned_abs()) as i64
}

fn any(random: &mut Random, ids: &[i64]) -> Option<i64> {
    (!ids.is_empty()).then(|| ids[random.index(ids.len())])
}
