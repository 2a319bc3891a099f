//! Dimensions: the fields of a click by which a table of counts may be made, beside the ad and its campaign. They are
//! the fields with that role in [the list](crate::field), so that a further one is a further entry there.

use std::fmt;
use std::str::FromStr;

use crate::field::{Field, Role};

/// A dimension that a lake may count by, beside the ad and its campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension(Field);

impl Dimension {
    /// All dimensions that may be chosen, in the order of their fields.
    pub const ALL: [Self; count()] = {
        let mut all = [Self(Field::ALL[0]); count()];
        let (mut at, mut found) = (0, 0);
        while at < Field::COUNT {
            if is_dimension(Field::ALL[at]) {
                all[found] = Self(Field::ALL[at]);
                found += 1;
            }
            at += 1;
        }
        all
    };

    /// Returns the dimension of a field.
    ///
    /// # Panics
    ///
    /// If the field has another role: a bug of the caller.
    pub const fn of(field: Field) -> Self {
        assert!(is_dimension(field), "the field is no dimension");
        Self(field)
    }

    /// Returns the field whose column is the dimension.
    pub const fn field(self) -> Field {
        self.0
    }

    /// Returns the column that holds it, in raw tables and in minute tables.
    pub const fn column(self) -> &'static str {
        self.0.column()
    }
}

const fn is_dimension(field: Field) -> bool {
    matches!(field.role(), Role::Dimension)
}

/// Counts the fields that are dimensions.
const fn count() -> usize {
    let (mut at, mut found) = (0, 0);
    while at < Field::COUNT {
        if is_dimension(Field::ALL[at]) {
            found += 1;
        }
        at += 1;
    }
    found
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column())
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dimension| dimension.column() == name);
        found.ok_or_else(|| format!("{name:?} is no dimension; there are {}", listed()))
    }
}

/// Lists the names of all dimensions for people.
fn listed() -> String {
    let names = Dimension::ALL.map(Dimension::column);
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_the_fields_of_that_role() {
        let fields: Vec<_> = Field::of_role(Role::Dimension).collect();
        assert_eq!(Dimension::ALL.map(Dimension::field).to_vec(), fields);
        for field in fields {
            assert_eq!(field.column().parse(), Ok(Dimension::of(field)));
        }
    }

    #[test]
    fn what_is_no_dimension_is_refused_with_all_that_there_are() {
        let why = "ad_id".parse::<Dimension>().expect_err("it is one of every table");
        assert_eq!(why, "\"ad_id\" is no dimension; there are publisher_id, country and device");
    }
}
