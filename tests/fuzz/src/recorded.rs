//! Law: everything that tables record is read back as it was written, and a value of another program is not taken for
//! ours: `txn` actions, cuts, the history of a staging table, the spec of counts, the statistics of a raw file.

use std::collections::BTreeMap;

use lake_schemas::minute::Parameters;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{History, Stand, Table, TopicPartition};
use lake_store::RawFile;
use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};

/// Returns the partition whose `txn` actions are looked at.
fn partition() -> TopicPartition {
    TopicPartition::new("clicks", 3)
}

/// Content of a log: a table, two sets of values for the `txn` actions of a partition, somebody else's `txn`, a
/// property, and statistics.
type Written<'a> = (u8, [Option<i64>; 5], [Option<i64>; 5], &'a str, &'a str, &'a str);

/// Holds the law for any content of a log.
pub fn law(data: &[u8]) {
    let Ok(written) = Written::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (table, here, there, app_id, property, statistics) = written;
    let table = Table::ALL[usize::from(table) % Table::ALL.len()];
    rolled_up_from(table, |_| here[0]);
    let (here, there) = (stand(table, here), stand(table, there));
    is_read_back(table, here);
    is_read_back(table, there);
    is_read_back(table, here.in_place_of(there));
    assert!(!(here.is_behind(there) && there.is_behind(here)));
    if let Some(named) = Stand::partition_of(table, app_id) {
        let ids = Stand::default().encode(table, &named);
        assert!(ids.first().is_some_and(|(cut, _)| cut == app_id), "{named} is not {app_id:?}");
    }
    for property in [property, statistics] {
        if let Ok((asked, history)) = History::of_property("t", property) {
            let again = History::of_property("t", &history.to_property(&asked)).expect("it is written as it is read");
            assert_eq!(again, (asked, history));
        }
        if let Ok(spec) = Parameters::parse(property) {
            assert_eq!(Parameters::parse(&spec.to_json()), Ok(spec));
        }
    }
    if let Some(file) = RawFile::stated("a.parquet", 1, statistics) {
        assert!(file.offsets.first < file.offsets.next, "{file:?}");
        file.may_be_of(&partition());
    }
}

/// Makes the stand of some values; a table takes those that it knows.
fn stand(table: Table, values: [Option<i64>; 5]) -> Stand {
    let ids = Stand::default().encode(table, &partition());
    let values: BTreeMap<_, _> = ids.into_iter().map(|(app_id, _)| app_id).zip(values).collect();
    Stand::decode(table, &partition(), |app_id| values.get(app_id).copied().flatten())
}

fn is_read_back(table: Table, stand: Stand) {
    let written: BTreeMap<_, _> = stand.encode(table, &partition()).into_iter().collect();
    assert_eq!(Stand::decode(table, &partition(), |app_id| written[app_id]), stand);
}
