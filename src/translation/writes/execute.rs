//! One attempt at a write: its operations, one after the other, in a transaction that is open already.

use super::agreement::Written;
use super::answer::{Answer, WrittenRows, pending, shown, translated};
use super::fault::{Fault, Refusal, WriteError};
use super::kind::{Parameter, parameter};
use super::request::{Action, Cell, Given, Operation, Request, RowWrite};
use super::rows::{Image, StoredRow, planned, read};
use super::rules::directions;
use super::statement::{Assignment, Statement, delete, insert, lock, update};
use super::tables::{WritableTable, WriteModel};
use super::touched::{Moment, Touched};
use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError};

/// Rows of one INSERT, at most, and parameters of one statement.
const INSERT_ROWS: usize = 500;
const PARAMETERS_MAX: usize = 30_000;

/// Why an attempt ended without an answer.
#[derive(Debug)]
pub enum Stop {
    Write(WriteError),
    /// The database refused an operation; of several rows that went in one statement, which one is not known.
    Failed {
        operation: Option<usize>,
        row: Option<usize>,
        error: DatabaseError,
    },
    /// Something else was committed meanwhile, so that the attempt must be made anew.
    Overtaken,
    /// A dry run: all is well, roll back.
    DryRun(String),
}

impl From<DatabaseError> for Stop {
    fn from(error: DatabaseError) -> Self {
        Self::Failed { operation: None, row: None, error }
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Database(error) => error.into(),
            other => Self::Write(other),
        }
    }
}

/// An attempt.
pub struct Execution<'a> {
    model: &'a WriteModel,
    request: &'a Request,
    active: Vec<Direction>,
    /// One row a statement, so that a failure names its row, and no looking at the other model.
    is_diagnosis: bool,
    stored: Vec<Vec<StoredRow>>,
    inserted: Vec<usize>,
    touched: Touched,
    written: Written,
}

impl<'a> Execution<'a> {
    #[must_use]
    pub fn new(model: &'a WriteModel, request: &'a Request, stage: Stage) -> Self {
        let active = directions(stage);
        Self {
            model,
            request,
            active,
            is_diagnosis: false,
            stored: Vec::new(),
            inserted: Vec::new(),
            touched: Touched::default(),
            written: Written::default(),
        }
    }

    /// An attempt that only looks for the row that fails.
    #[must_use]
    pub fn diagnosis(model: &'a WriteModel, request: &'a Request) -> Self {
        Self { is_diagnosis: true, active: Vec::new(), ..Self::new(model, request, Stage::Off) }
    }

    /// Runs all operations.
    pub fn run(&mut self, connection: &mut DatabaseConnection) -> Result<(), Stop> {
        let request = self.request;
        for (number, operation) in request.operations.iter().enumerate() {
            let Some(table) = self.model.tables.get(operation.table) else { continue };
            self.stored.push(Vec::new());
            self.inserted.push(0);
            match operation.action {
                Action::Insert => self.insert(connection, (number, operation), table)?,
                Action::Update | Action::Delete | Action::Upsert => {
                    for (row, write) in operation.rows.iter().enumerate() {
                        self.write_row(connection, (number, row), (operation.action, write), table)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses what would leave the models apart.
    pub fn check(&self, connection: &mut DatabaseConnection) -> Result<(), Stop> {
        Ok(self.written.check(connection, self.model)?)
    }

    /// What was written, on both sides.
    pub fn answer(&self, connection: &mut DatabaseConnection, stage: Stage) -> Result<Answer, Stop> {
        let mut operations = Vec::with_capacity(self.stored.len());
        for ((operation, rows), inserted) in self.request.operations.iter().zip(&self.stored).zip(&self.inserted) {
            let Some(table) = self.model.tables.get(operation.table) else { continue };
            operations.push(WrittenRows {
                action: operation.action,
                table: table.table.shown(),
                side: table.side,
                inserted: *inserted,
                rows: rows.iter().filter_map(|row| shown(table, row)).collect(),
            });
        }
        Ok(Answer {
            change: self.model.name.to_string(),
            stage,
            dry_run: self.request.dry_run,
            operations,
            translated: translated(connection, self.model, &self.touched)?,
            pending: pending(connection, self.model, &self.touched)?,
        })
    }

    fn insert(
        &mut self,
        connection: &mut DatabaseConnection,
        (number, operation): (usize, &Operation),
        table: &WritableTable,
    ) -> Result<(), Stop> {
        let mut rows: Vec<(usize, Vec<Assignment>)> = Vec::with_capacity(operation.rows.len());
        for (row, write) in operation.rows.iter().enumerate() {
            rows.push((row, self.assignments((number, row), write, table, &write.set)?));
        }
        let columns = |row: &[Assignment]| row.iter().map(|(column, _)| *column).collect::<Vec<_>>();
        let same =
            |left: &(usize, Vec<Assignment>), right: &(usize, Vec<Assignment>)| columns(&left.1) == columns(&right.1);
        for alike in rows.chunk_by(same) {
            let width = alike.first().map_or(1, |(_, row)| row.len());
            let fits = if self.is_diagnosis || width == 0 { 1 } else { (PARAMETERS_MAX / width).clamp(1, INSERT_ROWS) };
            for portion in alike.chunks(fits) {
                self.insert_portion(connection, number, portion, table)?;
            }
        }
        Ok(())
    }

    fn insert_portion(
        &mut self,
        connection: &mut DatabaseConnection,
        number: usize,
        portion: &[(usize, Vec<Assignment>)],
        table: &WritableTable,
    ) -> Result<(), Stop> {
        let first = portion.first().map(|(row, _)| *row);
        let place = (number, first.filter(|_| portion.len() == 1));
        let images = portion.iter().map(|(_, row)| planned(table, None, row)).collect();
        self.touch(connection, table, images, Moment::Before)?;
        let rows: Vec<Vec<Assignment>> = portion.iter().map(|(_, row)| row.clone()).collect();
        let stored = self.statement(connection, place, table, &insert(table, &rows))?;
        if stored.len() != rows.len() {
            return Err(self.suppressed((number, first.unwrap_or(0)), table));
        }
        let images = stored.iter().map(|row| row.image.clone()).collect();
        self.touch(connection, table, images, Moment::After)?;
        if let Some(count) = self.inserted.last_mut() {
            *count += stored.len();
        }
        self.keep(stored);
        Ok(())
    }

    fn write_row(
        &mut self,
        connection: &mut DatabaseConnection,
        place: (usize, usize),
        (action, write): (Action, &RowWrite),
        table: &WritableTable,
    ) -> Result<(), Stop> {
        let key = self.assignments(place, write, table, &write.key)?;
        let expected = self.assignments(place, write, table, &write.expected)?;
        let set = self.assignments(place, write, table, &write.set)?;
        let (number, row) = (place.0, Some(place.1));
        let failed = |error| Stop::Failed { operation: Some(number), row, error };
        let look = lock(table, &key, &expected);
        let found = connection.find_row(&look.sql, &look.values).map_err(failed)?;
        let Some(found) = found else {
            if action == Action::Upsert {
                return self.upsert_new(connection, place, set, table);
            }
            return Err(row_not_found(place, write, table));
        };
        let old = read(table, &found)?;
        if !found.boolean("co_same")? {
            return Err(row_differs(place, write, table, &old));
        }
        let statement = match action {
            Action::Delete => delete(table, &key),
            Action::Insert | Action::Update | Action::Upsert => update(table, &set, &key),
        };
        let mut images = vec![old.image.clone()];
        if action != Action::Delete {
            images.push(planned(table, Some(&old.image), &set));
        }
        self.touch(connection, table, images, Moment::Before)?;
        let stored = self.statement(connection, (number, row), table, &statement)?;
        if stored.len() != 1 {
            return Err(self.suppressed(place, table));
        }
        let mut images = vec![old.image];
        if action != Action::Delete {
            images.extend(stored.iter().map(|row| row.image.clone()));
        }
        self.touch(connection, table, images, Moment::After)?;
        self.keep(stored);
        Ok(())
    }

    /// The row of an upsert that is not there: if somebody inserts it meanwhile, the attempt is made anew and finds it.
    fn upsert_new(
        &mut self,
        connection: &mut DatabaseConnection,
        place: (usize, usize),
        set: Vec<Assignment>,
        table: &WritableTable,
    ) -> Result<(), Stop> {
        match self.insert_portion(connection, place.0, &[(place.1, set)], table) {
            Err(Stop::Failed { error, .. }) if error.is_unique_violation() && !self.is_diagnosis => {
                Err(Stop::Overtaken)
            }
            outcome => outcome,
        }
    }

    fn statement(
        &self,
        connection: &mut DatabaseConnection,
        (operation, row): (usize, Option<usize>),
        table: &WritableTable,
        statement: &Statement,
    ) -> Result<Vec<StoredRow>, Stop> {
        let failed = |error| Stop::Failed { operation: Some(operation), row, error };
        let rows = connection.query(&statement.sql, &statement.values).map_err(failed)?;
        rows.iter().map(|row| read(table, row)).collect::<Result<_, _>>().map_err(failed)
    }

    fn touch(
        &mut self,
        connection: &mut DatabaseConnection,
        table: &WritableTable,
        images: Vec<Image>,
        moment: Moment,
    ) -> Result<(), Stop> {
        if self.active.is_empty() {
            return Ok(());
        }
        if moment == Moment::After {
            self.written.note(self.model, &table.table.sql_name(), &images);
        }
        self.touched.follow(connection, self.model, &self.active, (&table.table.sql_name(), images), moment)?;
        Ok(())
    }

    fn keep(&mut self, rows: Vec<StoredRow>) {
        if let Some(last) = self.stored.last_mut() {
            last.extend(rows);
        }
    }

    fn suppressed(&self, (operation, row): (usize, usize), table: &WritableTable) -> Stop {
        let detail = format!(
            "a trigger or rule of the application on `{}` keeps the row from being written",
            table.table.shown()
        );
        let pointer =
            self.request.operations.get(operation).and_then(|found| found.rows.get(row)).map(|row| row.pointer.clone());
        let fault = Fault {
            operation: Some(operation),
            row: Some(row),
            pointer: pointer.unwrap_or_default(),
            table: Some(table.table.shown()),
            detail,
            ..Fault::default()
        };
        WriteError::refused(Refusal::Database, fault).into()
    }

    /// Cells with their values, references to earlier rows looked up.
    fn assignments(
        &self,
        (operation, row): (usize, usize),
        write: &RowWrite,
        table: &WritableTable,
        cells: &[Cell],
    ) -> Result<Vec<Assignment>, Stop> {
        let mut assignments = Vec::with_capacity(cells.len());
        for cell in cells {
            let value = match &cell.value {
                Given::Parameter(parameter) => Ok(parameter.clone()),
                Given::Stored { operation, row, column } => {
                    self.earlier((*operation, *row, *column), table, cell.column)
                }
            };
            let column = table.columns.get(cell.column).map(|column| column.name.clone());
            let value = value.map_err(|detail| {
                WriteError::refused(
                    Refusal::Invalid,
                    Fault {
                        operation: Some(operation),
                        row: Some(row),
                        pointer: write.pointer.clone(),
                        table: Some(table.table.shown()),
                        column,
                        detail,
                        ..Fault::default()
                    },
                )
            })?;
            assignments.push((cell.column, value));
        }
        Ok(assignments)
    }

    fn earlier(
        &self,
        (operation, row, column): (usize, usize, usize),
        table: &WritableTable,
        into: usize,
    ) -> Result<Parameter, String> {
        let stored = self.stored.get(operation).and_then(|rows| rows.get(row)).and_then(|row| row.shown.get(column));
        let stored = stored.ok_or("the row that it refers to was not written")?;
        let kind = &table.columns.get(into).ok_or("there is no such column")?.kind;
        let raw = serde_json::from_str(stored).map_err(|error| error.to_string())?;
        parameter(kind, raw, table.table.dialect)
    }
}

fn row_not_found((operation, row): (usize, usize), write: &RowWrite, table: &WritableTable) -> Stop {
    let detail = format!("`{}` has no such row", table.table.shown());
    let fault = Fault {
        operation: Some(operation),
        row: Some(row),
        pointer: format!("{}/where", write.pointer),
        table: Some(table.table.shown()),
        detail,
        ..Fault::default()
    };
    WriteError::refused(Refusal::RowNotFound, fault).into()
}

fn row_differs((operation, row): (usize, usize), write: &RowWrite, table: &WritableTable, old: &StoredRow) -> Stop {
    let holds = write.expected.iter().filter_map(|cell| {
        let value: String = old.shown.get(cell.column)?.chars().take(100).collect();
        Some(format!("`{}` is {value}", table.columns.get(cell.column)?.name))
    });
    let detail = format!("the row is not what `if` says: {}", holds.collect::<Vec<_>>().join(", "));
    let fault = Fault {
        operation: Some(operation),
        row: Some(row),
        pointer: format!("{}/if", write.pointer),
        table: Some(table.table.shown()),
        detail,
        ..Fault::default()
    };
    WriteError::refused(Refusal::RowDiffers, fault).into()
}
