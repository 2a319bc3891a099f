//! The terms on which a table is worked on: its shape when it was opened, its shape now, and whether the difference is
//! harmless. No I/O.
//!
//! Other programs may alter a table while jobs run. A change that touches nothing that clicklake relies on (a comment,
//! a further column, a property of theirs) is followed. A change that makes another table of it ends the work: whoever
//! works on it must begin anew. A change that this program would handle wrongly is refused. Only the newest version is
//! judged: what was altered and taken back meanwhile hurts nobody.

use deltalake::kernel::Action;
use lake_schemas::minute::Parameters;
use lake_schemas::table::{Definition, PROPERTY_FORMAT};
use lake_schemas::{Code, Refusal, Table};

use super::definition::{check, not_dropped};
use super::judge::{may_be_read, may_be_written};
use super::shape::Shape;
use super::{Version, judge};
use crate::error::{LakeError, Result};

/// Use of an open table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The table is followed and read.
    Reads,
    /// The table is written, too.
    Writes,
}

/// A table's definition and protocol, as far as they are known.
pub(super) struct Terms {
    access: Access,
    definition: Definition,
    /// Shape of the table when it was opened.
    began: Shape,
    /// Shape of the table in the newest version known.
    shape: Shape,
    is_judged: bool,
    /// Why the definition of the newest version cannot be understood, if it cannot.
    unread: Option<Refusal>,
    time_in_future_ms: i64,
}

impl Terms {
    /// Makes the terms of a table that is being opened, or refuses it.
    pub fn of(table: Table, access: Access, shape: Shape) -> Result<Self> {
        // Without our format it is another program's table, and is said to be one below, whatever else it lacks.
        let definition = if table.is_counts() && shape.properties().contains_key(PROPERTY_FORMAT) {
            Parameters::recorded(table, shape.properties())?.definition(table)
        } else {
            table.definition()
        };
        let time_in_future_ms = permitted(access, &definition, &shape)?;
        Ok(Self { access, definition, began: shape.clone(), shape, is_judged: true, unread: None, time_in_future_ms })
    }

    /// Goes on to the next version. Nothing is refused here: see [`Terms::judge`].
    pub fn follow(&mut self, actions: &[Action]) {
        match self.shape.after(self.definition.table, actions) {
            Ok(None) => {}
            Ok(Some(shape)) => {
                let is_defined = actions.iter().any(|action| matches!(action, Action::Metadata(_)));
                let unread = self.unread.take().filter(|_| !is_defined);
                self.set(shape);
                self.is_judged &= unread.is_none();
                self.unread = unread;
            }
            Err(error) => {
                let refusal = error.code().unwrap_or(Code::ForeignFeature).because(error.to_string());
                (self.is_judged, self.unread) = (false, Some(refusal));
            }
        }
    }

    /// Goes on to a version that was loaded.
    pub fn set(&mut self, shape: Shape) {
        self.is_judged &= shape == self.shape && self.unread.is_none();
        (self.shape, self.unread) = (shape, None);
    }

    /// Refuses the table if it may not be worked on any more. Reports it as altered if it has become another one.
    pub fn judge(&mut self, version: Version) -> Result<()> {
        if self.is_judged {
            return Ok(());
        }
        if let Some(refusal) = &self.unread {
            return Err(LakeError::Refused(refusal.clone()));
        }
        not_dropped(self.definition.table, &self.shape)?;
        let has_got_columns = self.shape.has_got_columns(&self.began, &self.definition);
        if has_got_columns || self.shape.is_another_than(&self.began) {
            return Err(LakeError::Altered(format!(
                "{}: version {version} or one before it made another table of it, or upgraded it; start again",
                self.definition.table
            )));
        }
        permitted(self.access, &self.definition, &self.shape)?;
        self.is_judged = true;
        Ok(())
    }

    /// Takes on the definition that a commit of this program's own has given the table.
    pub fn redefine(&mut self, definition: &Definition) -> Result<()> {
        let metadata = Action::Metadata(self.shape.redefined(&self.definition, definition)?);
        if let Some(shape) = self.shape.after(definition.table, &[metadata])? {
            (self.began, self.shape) = (shape.clone(), shape);
        }
        self.definition = definition.clone();
        Ok(())
    }

    /// Returns the shape of the table in the newest version known.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns the definition by which clicklake made the table.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the bound that the table records for events ahead of their message, in milliseconds.
    pub fn time_in_future_ms(&self) -> i64 {
        self.time_in_future_ms
    }

    /// Returns what the table was opened for.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Returns the version up to which all versions expire together: see [`judge::protected_before`].
    pub fn protected_before(&self) -> Option<Version> {
        judge::protected_before(&self.shape)
    }
}

fn permitted(access: Access, definition: &Definition, shape: &Shape) -> Result<i64> {
    match access {
        Access::Writes => may_be_written(definition, shape),
        Access::Reads => {
            let time_in_future_ms = check(definition, shape)?;
            may_be_read(definition.table, shape)?;
            Ok(time_in_future_ms)
        }
    }
}
