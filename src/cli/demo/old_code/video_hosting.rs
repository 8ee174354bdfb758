//! The video-hosting company's old application: users upload videos and are charged for them.

use diesel::QueryResult;

use super::super::random::Random;
use super::super::video_hosting::{currency_of, random_amount};
use super::Connection;

/// A charge that no other one reverses.
const NOT_REVERSED: &str = "NOT EXISTS (SELECT 1 FROM charges reversal WHERE reversal.reverses_id = c.id)";

/// The first row of a table from a random id on.
fn any_of(table: &str, id_max: i64, random: &mut Random) -> String {
    format!("(SELECT id FROM {table} WHERE id >= {} ORDER BY id LIMIT 1)", random.between(1, id_max))
}

pub struct Application {
    period: String,
    /// The greatest ids seen: random rows are looked for up to them.
    users: i64,
    videos: i64,
    charges: i64,
}

impl super::Application for Application {
    fn write(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        if self.users == 0 || random.permille(10) {
            self.look_around(connection)?;
        }
        match random.below(100) {
            0..=39 => self.charge(connection, random, 1),
            40..=54 => {
                let many = random.between(2, 5);
                self.charge(connection, random, many)
            }
            55..=66 => self.correct_amount(connection, random),
            67..=76 => self.refund(connection, random),
            77..=81 => self.void(connection, random),
            82..=86 => self.move_video(connection, random),
            87..=90 => self.rename_company(connection, random),
            91..=94 => self.sign_up(connection, random),
            95..=97 => self.upload(connection, random),
            98 => self.remove_empty_video(connection, random),
            _ => self.remove_idle_user(connection, random),
        }
    }
}

impl Application {
    pub fn new(period: &str) -> Self {
        Self { period: period.to_owned(), users: 0, videos: 0, charges: 0 }
    }

    fn look_around(&mut self, connection: &mut Connection) -> QueryResult<()> {
        for (greatest, table) in
            [(&mut self.users, "users"), (&mut self.videos, "videos"), (&mut self.charges, "charges")]
        {
            *greatest = connection.find_id(&format!("SELECT coalesce(max(id), 0) AS id FROM {table}"))?.unwrap_or(0);
        }
        Ok(())
    }

    /// One statement that charges a video's user, for a month's traffic or several items at once.
    fn charge(&mut self, connection: &mut Connection, random: &mut Random, many: i64) -> QueryResult<usize> {
        let video = any_of("videos", self.videos, random);
        let Some(video) = connection.find_id(&format!("SELECT id FROM videos WHERE id = {video}"))? else {
            return Ok(0);
        };
        self.charge_video(connection, random, video, many)
    }

    fn charge_video(
        &mut self,
        connection: &mut Connection,
        random: &mut Random,
        video: i64,
        many: i64,
    ) -> QueryResult<usize> {
        let user = connection.find_id(&format!("SELECT user_id AS id FROM videos WHERE id = {video}"))?.unwrap_or(0);
        let currency = currency_of(u64::try_from(user).unwrap_or(0));
        let rows: Vec<String> = (0..many)
            .map(|_| {
                let amount = random_amount(currency, random);
                format!("({user}, {video}, '{}', '{currency}', {amount})", self.period)
            })
            .collect();
        let columns = "user_id, video_id, period, currency, amount_minor";
        connection.execute(&format!("INSERT INTO charges ({columns}) VALUES {}", rows.join(", ")))
    }

    /// The running period's charges may still be corrected; one that has been refunded may not.
    fn correct_amount(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let charge = any_of("charges", self.charges, random);
        let amount = random_amount("EUR", random);
        let period = &self.period;
        connection.execute(&format!(
            "UPDATE charges AS c SET amount_minor = {amount}
             WHERE id = {charge} AND period = '{period}' AND reverses_id IS NULL AND {NOT_REVERSED}"
        ))
    }

    /// A refund is a charge of the running period with the sign turned.
    fn refund(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let charge = any_of("charges", self.charges, random);
        let period = &self.period;
        connection.execute(&format!(
            "INSERT INTO charges (user_id, video_id, period, currency, amount_minor, reverses_id)
             SELECT user_id, video_id, '{period}', currency, -amount_minor, id FROM charges c
             WHERE id = {charge} AND reverses_id IS NULL AND {NOT_REVERSED}"
        ))
    }

    fn void(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let charge = any_of("charges", self.charges, random);
        let period = &self.period;
        connection.execute(&format!(
            "DELETE FROM charges AS c WHERE id = {charge} AND period = '{period}' AND {NOT_REVERSED}"
        ))
    }

    fn move_video(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let video = any_of("videos", self.videos, random);
        let user = any_of("users", self.users, random);
        connection.execute(&format!("UPDATE videos SET user_id = {user} WHERE id = {video}"))
    }

    fn rename_company(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let user = any_of("users", self.users, random);
        let company = match random.below(3) {
            0 => String::from("NULL"),
            _ => format!("'Ünïcode & O''Brien №{}'", random.below(1000)),
        };
        connection.execute(&format!("UPDATE users SET company = {company} WHERE id = {user}"))
    }

    /// A user, the first video and the first charge, in one transaction.
    fn sign_up(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let name = format!("Newcomer {}", random.below(1_000_000));
        let inserted = format!("INSERT INTO users (name, company) VALUES ('{name}', NULL) RETURNING id");
        let user = connection.find_id(&inserted)?.unwrap_or(0);
        self.users = self.users.max(user);
        let inserted = format!("INSERT INTO videos (user_id, title) VALUES ({user}, 'First video') RETURNING id");
        let video = connection.find_id(&inserted)?.unwrap_or(0);
        self.videos = self.videos.max(video);
        Ok(2 + self.charge_video(connection, random, video, 1)?)
    }

    fn upload(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let user = any_of("users", self.users, random);
        let title = random.below(1_000_000);
        connection.execute(&format!("INSERT INTO videos (user_id, title) VALUES ({user}, 'Upload {title}')"))
    }

    fn remove_empty_video(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let video = any_of("videos", self.videos, random);
        connection.execute(&format!(
            "DELETE FROM videos WHERE id = {video} AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.video_id = videos.id)"
        ))
    }

    fn remove_idle_user(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let user = any_of("users", self.users, random);
        connection.execute(&format!(
            "DELETE FROM users WHERE id = {user} AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.user_id = users.id)
             AND NOT EXISTS (SELECT 1 FROM videos v WHERE v.user_id = users.id)"
        ))
    }
}
