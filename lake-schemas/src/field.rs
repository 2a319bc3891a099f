//! The fields of a click: each column of `clicks` once, as a value. The schema, the decoders, the statistics of files,
//! and who may see which column are derived from this list; the names of its columns are written nowhere else.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};

use crate::rejection::{COST_MICROS_MAX, ID_BYTES_MAX};

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text in UTF-8.
    Text,
    /// A number of 32 bits.
    Int32,
    /// A number of 64 bits.
    Int64,
    /// A point in time.
    Time,
    /// A calendar day.
    Date,
}

/// Role of a field for those who read and count clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Position of the message in the log. Whoever reads the log knows it; no message contains it.
    Position,
    /// Time of the event. One field has this role, and every event contains it.
    Time,
    /// Name of one of many: an ad, a click, a person.
    Id,
    /// Dimension that a table of counts may be made with, beside ad and campaign.
    Dimension,
    /// A number that is added up.
    Amount,
    /// Any other text.
    Text,
    /// All members of a message that are no field. One field has this role.
    Rest,
    /// Partition column of the table. It follows from the position.
    Partition,
}

/// Definition of a field in the list.
#[derive(Clone, Copy)]
struct Definition {
    column: &'static str,
    kind: Kind,
    role: Role,
    is_nullable: bool,
    has_statistics: bool,
    is_personal: bool,
    bytes_max: Option<usize>,
    amount_max: i64,
}

/// Makes a column that has a value in every row.
const fn required(kind: Kind, role: Role) -> Definition {
    Definition {
        column: "",
        kind,
        role,
        is_nullable: false,
        has_statistics: false,
        is_personal: false,
        bytes_max: None,
        amount_max: i64::MAX,
    }
}

/// Makes a column that may have no value in a row.
const fn optional(kind: Kind, role: Role) -> Definition {
    Definition { is_nullable: true, ..required(kind, role) }
}

impl Definition {
    /// Makes each file state the column's smallest and largest value, so that readers can skip it.
    const fn with_statistics(self) -> Self {
        Self { has_statistics: true, ..self }
    }

    /// Marks the column as telling of the person who clicked, or possibly so.
    const fn personal(self) -> Self {
        Self { is_personal: true, ..self }
    }

    /// Limits the length of the text, in bytes; a longer text is refused.
    const fn of_bytes(self, max: usize) -> Self {
        Self { bytes_max: Some(max), ..self }
    }

    /// Limits the number; a larger one is refused.
    const fn up_to(self, max: i64) -> Self {
        Self { amount_max: max, ..self }
    }
}

/// Makes [`Field`] and [`Member`] from one list, which has for each field its column, the members of a message that
/// give it (the first one present counts), and its definition. Names become arms of one `match`, so that finding the
/// field of a member costs a comparison of lengths and bytes, and no hashing.
macro_rules! fields {
    ($(
        $(#[$doc:meta])*
        $field:ident = $column:literal $(from $($member:literal),+)?: $definition:expr;
    )+) => {
        /// A column of `clicks`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $($(#[$doc])* $field,)+
        }

        impl Field {
            /// All fields, in the order of the table.
            pub const ALL: [Self; [$($column),+].len()] = [$(Self::$field),+];
        }

        const DEFINITIONS: [Definition; Field::COUNT] = [$(Definition { column: $column, ..$definition }),+];

        const MEMBERS: [(Field, &str); [$($($($member,)+)?)+].len()] = [$($($((Field::$field, $member),)+)?)+];

        impl Member {
            /// Returns the member with this name.
            #[inline]
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($($($member => Some(const { Member::of($member) }),)+)?)+
                    _ => None,
                }
            }
        }
    };
}

fields! {
    /// The topic, by the name that the lake has for it.
    Topic = "topic": required(Kind::Text, Role::Position).with_statistics();
    /// The partition of the topic.
    KafkaPartition = "kafka_partition": required(Kind::Int32, Role::Position).with_statistics();
    /// The offset of the message in the partition.
    KafkaOffset = "kafka_offset": required(Kind::Int64, Role::Position).with_statistics();
    /// The time of the message.
    KafkaTimestamp = "kafka_timestamp": optional(Kind::Time, Role::Position);
    /// When the event happened, by its own account.
    EventTime = "event_time" from "timestamp", "event_time": required(Kind::Time, Role::Time).with_statistics();
    /// What happened: absent, or `click`, if it is a click.
    EventType = "event_type" from "event_type": optional(Kind::Text, Role::Text);
    /// Identifier of the ad.
    AdId = "ad_id" from "ad_id": required(Kind::Text, Role::Id).of_bytes(ID_BYTES_MAX).with_statistics();
    /// The campaign of the ad.
    CampaignId = "campaign_id" from "campaign_id": optional(Kind::Text, Role::Id).of_bytes(ID_BYTES_MAX);
    /// The event's own id, by which copies are known.
    ClickId = "click_id" from "click_id", "event_id": optional(Kind::Text, Role::Id).of_bytes(ID_BYTES_MAX);
    /// The person who clicked.
    UserId = "user_id" from "user_id": optional(Kind::Text, Role::Id).of_bytes(ID_BYTES_MAX).personal();
    /// The site or app that showed the ad.
    PublisherId = "publisher_id" from "publisher_id": optional(Kind::Text, Role::Dimension).of_bytes(ID_BYTES_MAX);
    /// The country of the click.
    Country = "country" from "country": optional(Kind::Text, Role::Dimension);
    /// The device of the click.
    Device = "device" from "device": optional(Kind::Text, Role::Dimension);
    /// The address that the click came from.
    Ip = "ip" from "ip": optional(Kind::Text, Role::Text).personal();
    /// What the click cost, in millionths of the currency.
    CostMicros = "cost_micros" from "cost_micros": optional(Kind::Int64, Role::Amount).up_to(COST_MICROS_MAX);
    /// All other members of the message, as one JSON object: whatever a page has sent.
    Extra = "extra": optional(Kind::Text, Role::Rest).personal();
    /// The day of the message's time.
    LogDate = "log_date": required(Kind::Date, Role::Partition);
}

impl Field {
    /// Number of all fields.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns whether tables of format 1 may lack its column. Columns that were added since come behind those, and may
    /// be null.
    pub const fn is_added(self) -> bool {
        self as usize > Self::LogDate as usize
    }

    /// Returns the fields of a role, in the order of the table.
    pub fn of_role(role: Role) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |field| field.role() == role)
    }

    /// Returns the field with this column.
    pub fn of_column(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.column() == name)
    }

    const fn definition(self) -> Definition {
        DEFINITIONS[self as usize]
    }

    /// Returns the name of the field's column.
    pub const fn column(self) -> &'static str {
        self.definition().column
    }

    /// Returns the type of the field's column.
    pub const fn kind(self) -> Kind {
        self.definition().kind
    }

    /// Returns the role of the field for those who read and count clicks.
    pub const fn role(self) -> Role {
        self.definition().role
    }

    /// Returns whether each file states the smallest and the largest value of the column, so that readers can skip the
    /// file.
    pub const fn has_statistics(self) -> bool {
        self.definition().has_statistics
    }

    /// Returns whether the field tells of the person who clicked, or may do so.
    pub const fn is_personal(self) -> bool {
        self.definition().is_personal
    }

    /// Returns the maximum length of the field's text in bytes, if there is a bound.
    pub const fn bytes_max(self) -> Option<usize> {
        self.definition().bytes_max
    }

    /// Returns the largest number that the field may have. No number may be below zero.
    pub const fn amount_max(self) -> i64 {
        self.definition().amount_max
    }

    /// Returns the members of a message that give it; the first one present counts.
    pub fn members(self) -> impl Iterator<Item = Member> {
        Member::all().filter(move |member| member.field() == self)
    }

    /// Returns the column of the field as Arrow describes it.
    pub fn in_arrow(self) -> arrow::datatypes::Field {
        let data_type = match self.kind() {
            Kind::Text => DataType::Utf8,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 => DataType::Int64,
            Kind::Time => timestamp(),
            Kind::Date => DataType::Date32,
        };
        arrow::datatypes::Field::new(self.column(), data_type, self.definition().is_nullable)
    }
}

/// Returns the type of every time in the lake.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// A member of a message that gives a field its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(u8);

impl Member {
    /// Number of all members.
    pub const COUNT: usize = MEMBERS.len();

    /// Returns all members, field by field.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).map(Self).take(Self::COUNT)
    }

    /// Returns the member with this name, which must be in the list.
    const fn of(name: &str) -> Self {
        let mut at = 0;
        while at < MEMBERS.len() {
            if is_same(MEMBERS[at].1.as_bytes(), name.as_bytes()) {
                return Self(at as u8);
            }
            at += 1;
        }
        panic!("no field has a member of that name")
    }

    /// Returns the field that the member gives a value.
    pub fn field(self) -> Field {
        MEMBERS[usize::from(self.0)].0
    }

    /// Returns the name of the member in messages.
    pub fn name(self) -> &'static str {
        MEMBERS[usize::from(self.0)].1
    }
}

/// Compares names at compile time, where no other comparison is available.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A value for each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByField<T>([T; Field::COUNT]);

impl<T: Default> Default for ByField<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Index<Field> for ByField<T> {
    type Output = T;

    fn index(&self, field: Field) -> &T {
        &self.0[field as usize]
    }
}

impl<T> IndexMut<Field> for ByField<T> {
    fn index_mut(&mut self, field: Field) -> &mut T {
        &mut self.0[field as usize]
    }
}

/// A value for each member.
#[derive(Clone, Debug)]
pub struct ByMember<T>([T; Member::COUNT]);

impl<T: Default> Default for ByMember<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Index<Member> for ByMember<T> {
    type Output = T;

    fn index(&self, member: Member) -> &T {
        &self.0[usize::from(member.0)]
    }
}

impl<T> IndexMut<Member> for ByMember<T> {
    fn index_mut(&mut self, member: Member) -> &mut T {
        &mut self.0[usize::from(member.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(is_wanted: impl Fn(Field) -> bool) -> String {
        let wanted = Field::ALL.into_iter().filter(|field| is_wanted(*field));
        wanted.map(Field::column).collect::<Vec<_>>().join(" ")
    }

    /// Other people's programs, and existing lakes, rely on these.
    #[test]
    fn columns_of_existing_lakes_stay_as_they_are() {
        assert_eq!(
            columns(|_| true),
            "topic kafka_partition kafka_offset kafka_timestamp event_time event_type ad_id campaign_id click_id \
             user_id publisher_id country device ip cost_micros extra log_date"
        );
        for field in Field::ALL.into_iter().filter(|field| field.is_added()) {
            assert!(field.in_arrow().is_nullable(), "{} was added: older rows have no value in it", field.column());
        }
        let required = |field: Field| !field.in_arrow().is_nullable();
        assert_eq!(columns(required), "topic kafka_partition kafka_offset event_time ad_id log_date");
        assert_eq!(columns(Field::has_statistics), "topic kafka_partition kafka_offset event_time ad_id");
        assert_eq!(columns(|field| field.role() == Role::Dimension), "publisher_id country device");
    }

    /// Whoever adds a field says here, too, whether it may tell of the person who clicked: a key sees such a field only
    /// if its line says so.
    #[test]
    fn each_field_may_tell_of_the_person_or_does_not() {
        for field in Field::ALL {
            let may_tell = match field {
                Field::UserId | Field::Ip | Field::Extra => true,
                Field::Topic | Field::KafkaPartition | Field::KafkaOffset | Field::KafkaTimestamp => false,
                Field::EventTime | Field::EventType | Field::AdId | Field::CampaignId | Field::ClickId => false,
                Field::PublisherId | Field::Country | Field::Device | Field::CostMicros | Field::LogDate => false,
            };
            assert_eq!(field.is_personal(), may_tell, "{}", field.column());
        }
    }

    #[test]
    fn each_member_is_found_by_its_name_and_says_one_field() {
        for member in Member::all() {
            assert_eq!(Member::named(member.name()), Some(member));
            assert!(member.field().members().any(|one| one == member), "{}", member.name());
        }
        let names = |field: Field| field.members().map(Member::name).collect::<Vec<_>>();
        assert_eq!(names(Field::EventTime), ["timestamp", "event_time"]);
        assert_eq!(names(Field::ClickId), ["click_id", "event_id"]);
        for unknown in ["", "extra", "log_date", "kafka_offset", "AD_ID", "ad_id "] {
            assert_eq!(Member::named(unknown), None, "{unknown}");
        }
    }

    /// A field that no message contains comes from whoever reads the log; for one that every event must contain,
    /// decoders refuse messages without it.
    #[test]
    fn messages_say_what_is_neither_position_nor_partition_nor_the_rest() {
        for field in Field::ALL {
            let is_said = !matches!(field.role(), Role::Position | Role::Partition | Role::Rest);
            assert_eq!(field.members().next().is_some(), is_said, "{}", field.column());
            let kind = match field.role() {
                Role::Position => field.kind(),
                Role::Time => Kind::Time,
                Role::Amount => Kind::Int64,
                Role::Partition => Kind::Date,
                Role::Id | Role::Dimension | Role::Text | Role::Rest => Kind::Text,
            };
            assert_eq!(field.kind(), kind, "{}", field.column());
            let must_be = is_said && !field.in_arrow().is_nullable();
            assert_eq!(must_be, matches!(field, Field::EventTime | Field::AdId), "{}", field.column());
        }
        for role in [Role::Time, Role::Rest] {
            assert_eq!(Field::of_role(role).count(), 1, "{role:?}");
        }
    }
}
