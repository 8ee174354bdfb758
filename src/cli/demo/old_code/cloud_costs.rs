//! The cloud bill's old application: costs are retagged, moved and corrected. Whatever it does, the bill's total stays what
//! the provider billed: amounts are only moved, and a correction is booked together with its counterpart.

use diesel::QueryResult;

use super::super::random::Random;
use super::Connection;

#[derive(Default)]
pub struct Application {
    /// The greatest id seen.
    charges: i64,
    /// Corrections that may be taken back: the charge and its counterpart.
    corrections: Vec<(i64, i64)>,
}

impl super::Application for Application {
    fn write(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        if self.charges == 0 {
            let greatest = connection.find_id("SELECT coalesce(max(id), 0) AS id FROM charges")?;
            self.charges = greatest.unwrap_or(0);
        }
        match random.below(100) {
            0..=29 => self.retag(connection, random),
            30..=39 => self.remove_tags(connection, random),
            40..=54 => self.move_to_sub_account(connection, random),
            55..=69 => self.move_amount(connection, random),
            70..=89 => self.correct(connection, random),
            _ => self.take_back(connection, random),
        }
    }
}

impl Application {
    /// The first charge from a random id on.
    fn any_charge(&self, random: &mut Random) -> String {
        format!("(SELECT id FROM charges WHERE id >= {} ORDER BY id LIMIT 1)", random.between(1, self.charges))
    }

    /// Gives a charge the tags of another one.
    fn retag(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let (charge, other) = (self.any_charge(random), self.any_charge(random));
        connection.execute(&format!(
            "UPDATE charges SET tags = (SELECT o.tags FROM charges o WHERE o.id = {other}) WHERE id = {charge}"
        ))
    }

    fn remove_tags(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let charge = self.any_charge(random);
        connection.execute(&format!("UPDATE charges SET tags = NULL WHERE id = {charge}"))
    }

    /// To the sub-account of another charge; now and then to none.
    fn move_to_sub_account(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let (charge, other) = (self.any_charge(random), self.any_charge(random));
        let sub_account = match random.below(10) {
            0 => String::from("NULL"),
            _ => format!("(SELECT o.sub_account_id FROM charges o WHERE o.id = {other})"),
        };
        connection.execute(&format!("UPDATE charges SET sub_account_id = {sub_account} WHERE id = {charge}"))
    }

    /// Less on one charge, as much more on another one.
    fn move_amount(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let amount = random.between(-5_000_000, 5_000_000);
        let mut moved = 0;
        for amount in [amount, -amount] {
            let charge = self.any_charge(random);
            moved +=
                connection.execute(&format!("UPDATE charges SET amount = amount + {amount} WHERE id = {charge}"))?;
        }
        // Both or none: an id that is past the last charge finds no row.
        if moved == 2 { Ok(moved) } else { Err(diesel::result::Error::RollbackTransaction) }
    }

    fn correct(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let amount = random.between(1, 50_000_000);
        let mut pair = [0, 0];
        for (id, amount) in pair.iter_mut().zip([amount, -amount]) {
            let charge = self.any_charge(random);
            let inserted = connection.find_id(&format!(
                "INSERT INTO charges (billing_account_id, sub_account_id, period, currency, amount, service, tags)
                 SELECT billing_account_id, sub_account_id, period, currency, {amount}, service, tags
                 FROM charges WHERE id = {charge} RETURNING id"
            ))?;
            *id = inserted.ok_or(diesel::result::Error::RollbackTransaction)?;
        }
        let [charge, counterpart] = pair;
        self.corrections.push((charge, counterpart));
        Ok(2)
    }

    fn take_back(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize> {
        let Some(&(charge, counterpart)) = random.pick(&self.corrections) else { return Ok(0) };
        // Amounts may have been moved to or from either of them: only a pair that still cancels out may go.
        connection.execute(&format!(
            "DELETE FROM charges WHERE id IN ({charge}, {counterpart})
             AND (SELECT sum(o.amount) FROM charges o WHERE o.id IN ({charge}, {counterpart})) = 0"
        ))
    }
}
