//! Codes of refusals: each kind of refusal has a number, by which people look it up and programs tell it apart.
//!
//! The list below is the only place that gives numbers. A number is never given to another kind: a code that is no
//! longer used leaves a gap. `docs/errors.md` has the same list, for people.

use std::fmt;

/// Defines [`Code`]: the number and the name of each, what is refused, and what to do in general.
macro_rules! codes {
    ($($number:literal $name:ident $meaning:literal, $way_out:literal;)+) => {
        /// Kind of a refusal. Its text says more: which table, which flag, and what to do there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$name),+];

            /// Describes in a sentence what is refused.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)+
                }
            }

            /// Describes in a sentence what to do in general.
            pub fn way_out(self) -> &'static str {
                match self {
                    $(Self::$name => $way_out,)+
                }
            }
        }
    };
}

codes! {
    1 TableMissing "The lake has no tables yet, or not this one.",
        "Start the job that makes it, or correct --lake.";
    2 VersionUnknown "The table has no such version, or had none yet at that time.",
        "Name a version that `clicklake history TABLE` shows.";
    3 VersionGone "The version, or a file of it, was cleaned up.",
        "Name a later version; pin versions that must stay.";
    4 TableAltered "The table has become another one meanwhile, or has got other columns.",
        "Start again; make views of it again.";
    5 FormatNewer "A newer clicklake made the table.",
        "Upgrade this program.";
    6 NeedUnknown "The table says that whoever works on it must understand something that this program does not.",
        "Upgrade this program; take back a property that another program has set.";
    7 TableForeign "It is a Delta table, but not one of clicklake's.",
        "Use another --lake.";
    8 ColumnUnfit "A column is lacking, or of another type, or the table is partitioned otherwise.",
        "Restore the table to a version before another program changed that, or use another --lake.";
    9 ForeignFeature "Another program gave the table a feature, a property, a column or deleted rows that are not \
                     supported.",
        "Run the statement that the error names.";
    10 ForeignLoss "Another program has dropped positions or rows that the table had recorded.",
        "Put them back as the error says; never read them again into the same table.";
    11 PropertyUnreadable "A property of the table is not as clicklake writes it.",
        "Set the property as it was, or restore the table.";
    12 FileDamaged "A file of the lake, of data or of a log, is damaged or missing.",
        "Put back a copy of the file, or make the table again, as the error says.";
    13 FileForeign "A data file is not as clicklake writes them: another program wrote it.",
        "Run `clicklake compact` where the error says so, or restore the table to a version before it.";
    14 LakeAddress "That is no address of a lake.",
        "Give a folder, file:// or s3://bucket/prefix.";
    15 StoreUnfit "The store lets two writers create the same object.",
        "Use a store with conditional puts.";
    16 SettingsDiffer "The table was made with other settings than those asked for.",
        "Take the flag out, or count with other settings in another table.";
    17 SettingsImpossible "The settings that decide the counts cannot be met together.",
        "Take less, or name each dimension once.";
    18 RangeImpossible "No window or version lies in the range that is asked for.",
        "Give whole minutes, the earlier bound first.";
    19 NothingThere "The lake has nothing of what is asked for: no event, closed window, topic, pin or promotion.",
        "Ask for something else; nothing was changed.";
    20 DimensionNotCounted "The lake does not count by that dimension.",
        "Ask by one that the error names, or count with other dimensions in another table.";
    21 QuestionImpossible "A question of totals makes no sense, or has too large an answer.",
        "Ask for less, as the error says.";
    22 SumOverflow "A sum does not fit into its column.",
        "Ask for less time, or for parts.";
    23 MemoryLimit "The memory limit is reached.",
        "Raise --memory-limit, ask for less, or start more processes of the group.";
    24 Fenced "Another process does the same work.",
        "Stop one of them.";
    25 Contended "Others changed the same at the same time, or it took too long to be committed.",
        "Try again, or ask for less.";
    26 TopicAnew "The topic was made again: it is not the one that the lake knows.",
        "Record it under a new name with --topic-as.";
    27 OffsetsGone "Kafka no longer has the next message, and neither does the lake.",
        "Record the topic under a new name with --topic-as.";
    28 BatchUnreadable "Data of a partition cannot be read.",
        "Make a whole replica the leader, or delete the damaged records and use --topic-as.";
    29 KafkaSetting "A setting of Kafka's client is unknown or has no such value, or the promises rest on it.",
        "Correct it, or take it out of -X or -F.";
    30 TopicNotCounted "A topic that is to be retired has clicks that are not counted yet.",
        "Let `clicklake aggregate --until-caught-up` finish it, or count what the raw table has.";
    31 RawBehind "The raw table does not have yet what the counts have seen.",
        "Let `clicklake ingest` catch up, or give a longer --wait.";
    32 StagingExists "A staging table of that name is there already, or was begun with another range.",
        "Finish it with the same range, or give another name.";
    33 StagingIncomplete "The staging table is not complete, or not of all history.",
        "Run `clicklake backfill --into` again, then promote.";
    34 PinDamaged "A pin, or the record of what is cleaned up, cannot be read.",
        "`clicklake unpin NAME`, then pin again.";
    35 PinTaken "A pin of that name keeps another version.",
        "Unpin it first, or give another name.";
    36 KeysFile "The file of keys is wrong.",
        "Correct the line that the error names.";
    37 KeysNeeded "Without keys, everyone who can reach the address would see everything.",
        "Give --keys, or listen on 127.0.0.1.";
    38 TlsFiles "The certificate or its private key cannot be used.",
        "Give files in PEM that belong together.";
    39 ReadOnly "The statement would write into the lake, which SQL only reads.",
        "Write elsewhere; rows come from the jobs.";
    40 StatementUnsupported "The statement has a part that would not be honoured.",
        "Write it as the error says.";
    41 StatementUnclear "The statement or script cannot be read, or would be read otherwise than it is meant.",
        "Write it as the error says; one statement at a time where one is expected.";
    42 StatementTooComplex "The statement has too many parts.",
        "Make tables or views of its parts.";
    43 StatementBug "The statement meets a bug of the query engine.",
        "Write it in another way.";
    44 ArgumentImpossible "The function does not take that argument.",
        "Give what the error expects.";
    45 NameReserved "The name is one that the lake uses.",
        "Choose another.";
    46 Hidden "It tells of rows that this key does not see.",
        "Ask with a key that does.";
    47 Bug "It is a bug of clicklake.",
        "Report it.";
    48 StagingDropped "The staging table was dropped, and not all of it is deleted yet.",
        "`clicklake drop NAME` finishes it, unless one is at work; or give another name.";
    49 StagingNeeded "The staging table may still be needed: it is pinned, or counted live, or being made.",
        "Unpin it; stop counting it live; stop the backfill, and drop with --force.";
}

impl Code {
    /// Returns the number of the code, which no other code ever has.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CL{:04}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_the_order_of_their_numbers_and_each_says_what_it_is_and_what_to_do() {
        assert!(Code::ALL.is_sorted_by_key(|code| code.number()));
        for code in Code::ALL {
            for said in [code.meaning(), code.way_out()] {
                assert!(said.ends_with('.') && !said.contains(['\n', '|']) && !said.contains("  "), "{code}: {said}");
            }
        }
        for two in Code::ALL.windows(2) {
            assert!(two[0].number() < two[1].number() && two[0].meaning() != two[1].meaning(), "{} {}", two[0], two[1]);
        }
        assert_eq!(Code::FileDamaged.to_string(), "CL0012");
    }
}
