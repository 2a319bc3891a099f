//! Writes `COPY (SELECT ...) TO STDOUT`: rows as one file of text, CSV, or PostgreSQL's binary format.
//!
//! Rows come in the wire's text or binary format; here they are framed as in a file.

use std::fmt::Debug;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption, Ident};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{QueryResponse, Tag};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use datafusion_postgres::pgwire::messages::data::DataRow;
use futures::{Sink, SinkExt, StreamExt};

use super::errors::Refused;
use super::settings::is_utf8;

/// Beginning of a file in the binary format: its signature, no flags, no extension.
const BEGIN: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// End of a file in the binary format: a row with -1 columns.
const END: &[u8] = b"\xff\xff";

/// Format of the copied rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    kind: Kind,
    /// Byte between two columns.
    delimiter: u8,
    /// Text that stands for null.
    null: String,
    /// Whether the first line has the names of the columns.
    header: bool,
    quote: u8,
    escape: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Text,
    Csv,
    Binary,
}

impl Copying {
    /// Reads the format from the options of a statement, both current and legacy ones.
    pub fn of(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Self, Refused> {
        let mut said = CopyOptions::default();
        options.iter().try_for_each(|option| said.option(option))?;
        legacy.iter().try_for_each(|option| said.legacy(option))?;
        let CopyOptions { kind, delimiter, null, header, quote, escape } = said;
        let is_csv = kind == Kind::Csv;
        let (plain, none) = if is_csv { (b',', "") } else { (b'\t', "\\N") };
        let is_of_csv = quote.is_some() || escape.is_some();
        let quote = quote.unwrap_or(b'"');
        let copying = Self {
            kind,
            delimiter: delimiter.unwrap_or(plain),
            null: null.unwrap_or_else(|| none.to_owned()),
            header,
            quote,
            escape: escape.unwrap_or(quote),
        };
        let in_null = |byte: u8| copying.null.as_bytes().contains(&byte);
        let is_unclear = match kind {
            Kind::Binary => copying != (Self { kind: Kind::Binary, ..Self::text() }),
            // Behind a backslash these bytes would mean something else.
            Kind::Text => copying.delimiter.is_ascii_alphanumeric() || b"\\.".contains(&copying.delimiter),
            Kind::Csv => copying.delimiter == copying.quote || in_null(copying.quote),
        };
        if is_unclear || (is_of_csv && !is_csv) || in_null(copying.delimiter) || in_null(b'\n') || in_null(b'\r') {
            return Err(unsupported("DELIMITER, NULL, QUOTE or ESCAPE like that; leave them out, or give others"));
        }
        Ok(copying)
    }

    /// Returns the text format with its defaults.
    fn text() -> Self {
        Self { kind: Kind::Text, delimiter: b'\t', null: "\\N".to_owned(), header: false, quote: b'"', escape: b'"' }
    }

    /// Returns the wire format in which rows are requested.
    pub fn rows(&self) -> Format {
        if self.kind == Kind::Binary { Format::UnifiedBinary } else { Format::UnifiedText }
    }

    /// Returns the bytes before all rows.
    fn begin(&self, names: &[&str]) -> Vec<u8> {
        match self.kind {
            Kind::Binary => BEGIN.to_vec(),
            _ if self.header => self.line(names.iter().map(|name| Some(name.as_bytes()))),
            _ => Vec::new(),
        }
    }

    /// Returns the bytes after all rows.
    fn end(&self) -> &'static [u8] {
        if self.kind == Kind::Binary { END } else { &[] }
    }

    /// Returns the bytes of one row.
    fn row(&self, row: &DataRow) -> Vec<u8> {
        if self.kind == Kind::Binary {
            let mut bytes = BytesMut::with_capacity(2 + row.data.len());
            bytes.put_i16(row.field_count);
            bytes.put_slice(&row.data);
            return bytes.to_vec();
        }
        let mut rest = &row.data[..];
        let columns = (0..row.field_count).map(|_| {
            let length = usize::try_from(rest.get_i32()).ok()?;
            let (column, after) = rest.split_at(length);
            rest = after;
            Some(column)
        });
        self.line(columns)
    }

    fn line<'a>(&self, columns: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<u8> {
        let mut line = Vec::new();
        for (place, column) in columns.enumerate() {
            if place > 0 {
                line.push(self.delimiter);
            }
            match column {
                None => line.extend_from_slice(self.null.as_bytes()),
                Some(column) if self.kind == Kind::Csv => self.quoted(column, &mut line),
                Some(column) => self.escaped(column, &mut line),
            }
        }
        line.push(b'\n');
        line
    }

    /// Writes a column as text: bytes that would end a column, or be taken for null, stand behind a backslash.
    fn escaped(&self, column: &[u8], line: &mut Vec<u8>) {
        for byte in column {
            let letter = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0b => b'v',
                0x0c => b'f',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    line.push(*byte);
                    continue;
                }
            };
            line.extend_from_slice(&[b'\\', letter]);
        }
    }

    /// Writes a column as CSV: in quotes, if it would end early or be taken for null.
    fn quoted(&self, column: &[u8], line: &mut Vec<u8>) {
        let ends = |byte: &u8| [self.delimiter, self.quote, b'\n', b'\r'].contains(byte);
        let is_plain = column != self.null.as_bytes() && !column.iter().any(ends) && column != b"\\.";
        if is_plain {
            line.extend_from_slice(column);
            return;
        }
        line.push(self.quote);
        for byte in column {
            if *byte == self.quote || *byte == self.escape {
                line.push(self.escape);
            }
            line.push(*byte);
        }
        line.push(self.quote);
    }
}

/// Options that a statement gives, as far as it does.
#[derive(Default)]
struct CopyOptions {
    kind: Kind,
    delimiter: Option<u8>,
    null: Option<String>,
    header: bool,
    quote: Option<u8>,
    escape: Option<u8>,
}

impl CopyOptions {
    fn option(&mut self, option: &CopyOption) -> Result<(), Refused> {
        match option {
            CopyOption::Format(name) => {
                self.kind = kind_of(name).ok_or_else(|| unsupported(&format!("FORMAT {name}")))?;
            }
            CopyOption::Delimiter(letter) => self.delimiter = Some(one(*letter, "that DELIMITER")?),
            CopyOption::Null(null) => self.null = Some(null.clone()),
            CopyOption::Header(header) => self.header = *header,
            CopyOption::Quote(letter) => self.quote = Some(one(*letter, "that QUOTE")?),
            CopyOption::Escape(letter) => self.escape = Some(one(*letter, "that ESCAPE")?),
            CopyOption::Freeze(false) => {}
            CopyOption::Encoding(name) if is_utf8(name) => {}
            other => return Err(unsupported(&other.to_string())),
        }
        Ok(())
    }

    fn legacy(&mut self, option: &CopyLegacyOption) -> Result<(), Refused> {
        match option {
            CopyLegacyOption::Binary => self.kind = Kind::Binary,
            CopyLegacyOption::Csv(options) => {
                self.kind = Kind::Csv;
                return options.iter().try_for_each(|option| self.legacy_csv(option));
            }
            CopyLegacyOption::Delimiter(letter) => self.delimiter = Some(one(*letter, "that DELIMITER")?),
            CopyLegacyOption::Null(null) => self.null = Some(null.clone()),
            CopyLegacyOption::Header => self.header = true,
            other => return Err(unsupported(&other.to_string())),
        }
        Ok(())
    }

    fn legacy_csv(&mut self, option: &CopyLegacyCsvOption) -> Result<(), Refused> {
        match option {
            CopyLegacyCsvOption::Header => self.header = true,
            CopyLegacyCsvOption::Quote(letter) => self.quote = Some(one(*letter, "that QUOTE")?),
            CopyLegacyCsvOption::Escape(letter) => self.escape = Some(one(*letter, "that ESCAPE")?),
            other => return Err(unsupported(&other.to_string())),
        }
        Ok(())
    }
}

fn unsupported(option: &str) -> Refused {
    Refused::unsupported(&format!("COPY TO STDOUT does not take {option}"))
}

/// Returns a character that must be one byte and must not end a line.
fn one(letter: char, option: &str) -> Result<u8, Refused> {
    let byte = u8::try_from(letter).ok().filter(|byte| byte.is_ascii() && !b"\r\n".contains(byte));
    byte.ok_or_else(|| unsupported(option))
}

fn kind_of(name: &Ident) -> Option<Kind> {
    match name.value.to_ascii_lowercase().as_str() {
        "text" => Some(Kind::Text),
        "csv" => Some(Kind::Csv),
        "binary" => Some(Kind::Binary),
        _ => None,
    }
}

/// Sends rows as a file, as they are produced. An error on the way is the error of the statement: the client is told
/// that the file is incomplete.
pub(super) async fn send<C>(client: &mut C, copying: &Copying, mut rows: QueryResponse) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let columns = rows.row_schema();
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    let count = i16::try_from(names.len()).map_err(|_| Refused::too_much("too many columns are copied"))?;
    let format = i8::from(copying.kind == Kind::Binary);
    let begun = CopyOutResponse::new(format, count, vec![i16::from(format); names.len()]);
    client.send(PgWireBackendMessage::CopyOutResponse(begun)).await?;
    let data = |bytes: Vec<u8>| PgWireBackendMessage::CopyData(CopyData::new(Bytes::from(bytes)));
    // PostgreSQL sends the header of a binary file with its first row, or with the trailer: clients take each message
    // for a row.
    let mut begin = copying.begin(&names);
    if copying.kind != Kind::Binary && !begin.is_empty() {
        client.feed(data(std::mem::take(&mut begin))).await?;
    }
    let mut sent = 0_usize;
    while let Some(row) = rows.data_rows().next().await {
        let mut message = std::mem::take(&mut begin);
        message.extend_from_slice(&copying.row(&row?));
        client.feed(data(message)).await?;
        sent += 1;
    }
    begin.extend_from_slice(copying.end());
    if !begin.is_empty() {
        client.feed(data(begin)).await?;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    client.send(PgWireBackendMessage::CommandComplete(Tag::new("COPY").with_rows(sent).into())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&str>]) -> DataRow {
        let mut data = BytesMut::new();
        for column in columns {
            match column {
                None => data.put_i32(-1),
                Some(text) => {
                    data.put_i32(i32::try_from(text.len()).expect("short"));
                    data.put_slice(text.as_bytes());
                }
            }
        }
        DataRow::new(data, i16::try_from(columns.len()).expect("few"))
    }

    fn of(options: &[CopyOption]) -> Copying {
        Copying::of(options, &[]).expect("options")
    }

    fn format(name: &str) -> CopyOption {
        CopyOption::Format(Ident::new(name))
    }

    #[test]
    fn rows_are_written_as_postgresql_writes_them() {
        let written = row(&[Some("a"), None, Some(""), Some("b\tc\\\nd"), Some("e,\"f\"")]);
        let text = of(&[]).row(&written);
        assert_eq!(String::from_utf8_lossy(&text), "a\t\\N\t\tb\\tc\\\\\\nd\te,\"f\"\n");
        let csv = of(&[format("CSV")]).row(&written);
        assert_eq!(String::from_utf8_lossy(&csv), "a,,\"\",\"b\tc\\\nd\",\"e,\"\"f\"\"\"\n");
        let own = of(&[format("csv"), CopyOption::Delimiter(';'), CopyOption::Null("-".to_owned())]);
        assert_eq!(String::from_utf8_lossy(&own.row(&row(&[None, Some("-"), Some("")]))), "-;\"-\";\n");
        let binary = of(&[format("binary")]);
        assert_eq!(binary.row(&row(&[Some("a"), None])), b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        assert_eq!((binary.begin(&["a"]).len(), binary.end()), (19, END));
        let header = of(&[format("csv"), CopyOption::Header(true)]);
        assert_eq!(header.begin(&["a", "b,c"]), b"a,\"b,c\"\n");
    }

    #[test]
    fn options_of_long_ago_say_the_same() {
        let quote = [CopyLegacyCsvOption::Header, CopyLegacyCsvOption::Quote('\'')];
        let legacy = [CopyLegacyOption::Csv(quote.to_vec()), CopyLegacyOption::Delimiter(';')];
        let today = [format("csv"), CopyOption::Header(true), CopyOption::Quote('\''), CopyOption::Delimiter(';')];
        assert_eq!(Copying::of(&[], &legacy), Copying::of(&today, &[]));
        assert_eq!(Copying::of(&[], &[CopyLegacyOption::Binary]), Ok(of(&[format("binary")])));
    }

    #[test]
    fn unsupported_options_of_copy_are_refused() {
        for options in [
            vec![format("xml")],
            vec![CopyOption::ForceQuote(Vec::new())],
            vec![CopyOption::Delimiter('€')],
            vec![CopyOption::Delimiter('\n')],
            vec![format("binary"), CopyOption::Header(true)],
            vec![format("csv"), CopyOption::Delimiter('"')],
            vec![CopyOption::Encoding("latin1".to_owned())],
            vec![CopyOption::Quote('\'')],
            vec![CopyOption::Escape('\'')],
            vec![CopyOption::Delimiter('n')],
            vec![CopyOption::Delimiter('\\')],
            vec![CopyOption::Null("a\tb".to_owned())],
            vec![CopyOption::Null("a\nb".to_owned())],
            vec![format("csv"), CopyOption::Null("\"".to_owned())],
            vec![format("csv"), CopyOption::Delimiter('-'), CopyOption::Null("-".to_owned())],
        ] {
            assert!(Copying::of(&options, &[]).is_err(), "{options:?}");
        }
    }
}
