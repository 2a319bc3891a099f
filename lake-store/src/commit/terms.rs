//! The terms on which a table is worked on: what it was when it was opened, what it is now, and whether that is
//! harmless. No I/O.
//!
//! Other programs may alter a table while jobs run. What leaves alone all that clicklake goes by (a comment, a column
//! more, a property of theirs) is followed; what makes another table of it is for whoever works on it to begin anew
//! with; and what this program would do wrongly is refused. It is the newest version that is judged: what was altered
//! and taken back meanwhile hurts nobody.

use deltalake::kernel::Action;
use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_schemas::table::{Definition, PROPERTY_FORMAT};

use super::definition::check;
use super::judge::{may_be_read, may_be_written};
use super::shape::Shape;
use super::{Version, judge};
use crate::error::{LakeError, Result};

/// What is done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It is followed, and read.
    Reads,
    /// It is written too.
    Writes,
}

/// A table's definition and protocol, as they are known.
pub(super) struct Terms {
    access: Access,
    definition: Definition,
    /// As it was opened.
    began: Shape,
    /// In the newest version known.
    shape: Shape,
    is_judged: bool,
    /// Why the definition of the newest version cannot be understood, if it cannot.
    unread: Option<String>,
    time_in_future_ms: i64,
}

impl Terms {
    /// The terms of a table that is being opened, if it may be.
    pub fn of(table: Table, access: Access, shape: Shape) -> Result<Self> {
        // A table of others is said to be one, whatever else it lacks.
        let definition = if table.is_counts() && shape.properties().contains_key(PROPERTY_FORMAT) {
            Parameters::recorded(table, shape.properties())?.definition(table)
        } else {
            table.definition()
        };
        let time_in_future_ms = permitted(access, &definition, &shape)?;
        Ok(Self { access, definition, began: shape.clone(), shape, is_judged: true, unread: None, time_in_future_ms })
    }

    /// Goes on to the next version.
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
            Err(why) => (self.is_judged, self.unread) = (false, Some(why.to_string())),
        }
    }

    /// Goes on to a version that was loaded.
    pub fn set(&mut self, shape: Shape) {
        self.is_judged &= shape == self.shape && self.unread.is_none();
        (self.shape, self.unread) = (shape, None);
    }

    /// Refuses what the table has become, if it may not be worked on; if it has become another one, says so.
    pub fn judge(&mut self, version: Version) -> Result<()> {
        if self.is_judged {
            return Ok(());
        }
        if let Some(why) = &self.unread {
            return Err(LakeError::Refused(why.clone()));
        }
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

    /// What it is.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What clicklake made it as.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The bound that it records for events ahead of their message, in milliseconds.
    pub fn time_in_future_ms(&self) -> i64 {
        self.time_in_future_ms
    }

    /// Whether commits may be made on it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// See [`judge::protected_before`].
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
