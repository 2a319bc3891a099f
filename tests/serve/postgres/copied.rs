//! Law: rows are copied out as PostgreSQL writes them, in text, CSV and binary; and DuckDB reads tables in that way.

use tokio::process::Command;

use super::lake::{self, Rows};
use super::{MEMORY, Served};
use crate::readers::python;

#[test]
fn rows_are_copied_in_each_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    let output = served.runtime.block_on(async {
        let script = "tests/serve/postgres/copies.py";
        Command::new(python()).arg(script).arg(served.url("spring-key")).output().await.expect("Python runs")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = r#"b'1\t10\n2\t20\n'
b'ad_id;clicks\n1;10\n2;20\n'
b'ad_id,clicks\n1,10\n2,20\n'
b',"","c,""d"""\n'
b'count,count,max,?column?\n0,0,,1\n'
b'PGCOPY\n\xff\r\n\x00' b'\xff\xff' 59
[('1', 10), ('2', 20)]
b'\xff\xff'
0
22012
25006
(1,)
[(8, 120)]
[('2',)]
"#;
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{said}");
    served.end();
}
