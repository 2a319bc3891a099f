//! Prints the answer of a statement: for programs batch by batch, so that an answer of any size takes the memory of one
//! batch; for people as a table, whose rows count against the session's memory.

use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::FormatOptions;
use datafusion::dataframe::DataFrame;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::error::QueryError;
use crate::output::{Breaks, Encoder, Opened, visible_rows};

/// Printer of an answer.
pub(super) struct Shown<'a> {
    options: &'a PrintOptions,
    maxrows: MaxRows,
    breaks: Breaks,
}

impl<'a> Shown<'a> {
    /// Makes a printer for the answer of a statement, by the shell's settings. Plans and settings are shown completely.
    pub fn of(statement: &Statement, options: &'a PrintOptions) -> Self {
        let (is_plan, is_setting) = match statement {
            Statement::Explain(_) => (true, false),
            Statement::Statement(statement) => match statement.as_ref() {
                ast::Statement::Explain { .. } => (true, false),
                ast::Statement::ShowVariable { .. } | ast::Statement::ExplainTable { .. } => (false, true),
                _ => (false, false),
            },
            _ => (false, false),
        };
        let maxrows = if is_plan || is_setting { MaxRows::Unlimited } else { options.maxrows };
        Self { options, maxrows, breaks: if is_plan { Breaks::Kept } else { Breaks::Escaped } }
    }

    /// Writes an answer.
    pub async fn print(&self, context: &SessionContext, answer: DataFrame, to: &mut Opened) -> Result<(), QueryError> {
        let began = Instant::now().into_std();
        let mut batches = answer.execute_stream().await?;
        let schema = batches.schema();
        let is_table = matches!(self.options.format, PrintFormat::Table | PrintFormat::Automatic);
        let mut encoder = Encoder::new(self.options.format);
        let (mut kept, mut rows) = (Vec::new(), 0_usize);
        let task = context.task_ctx();
        let memory = MemoryConsumer::new("rows of a table that is shown").register(task.memory_pool());
        let most = match self.maxrows {
            MaxRows::Unlimited => usize::MAX,
            MaxRows::Limited(most) => most,
        };
        while let Some(batch) = batches.try_next().await? {
            if !is_table {
                to.write_all(&encoder.rows(&batch)?)?;
            } else if rows <= most {
                // One row more than the limit is kept, to show that there are more.
                let shown = batch.slice(0, batch.num_rows().min((most - rows).saturating_add(1)));
                memory.try_grow(get_record_batch_memory_size(&shown))?;
                kept.push(shown);
            }
            rows += batch.num_rows();
        }
        // A statement without an answer has no columns, and nothing to print.
        let is_answer = !schema.fields().is_empty();
        if is_table {
            let options = context.copied_config();
            print_table(&schema, &kept, self.maxrows, self.breaks, &options.options().format, to)?;
        } else if is_answer {
            if rows == 0 {
                to.write_all(&encoder.rows(&RecordBatch::new_empty(schema))?)?;
            }
            to.write_all(&encoder.end())?;
        }
        to.flush()?;
        if !self.options.quiet {
            // Prints the number of rows, the time, and the requests, as DataFusion's shell does.
            let options = PrintOptions {
                format: PrintFormat::Table,
                maxrows: if is_table { self.maxrows } else { MaxRows::Unlimited },
                ..self.options.clone()
            };
            let config = context.copied_config();
            options.print_batches(Arc::new(Schema::empty()), &[], began, rows, &config.options().format)?;
        }
        Ok(())
    }
}

/// Writes rows as a table: at most `maxrows` of them, and dots if there are more.
fn print_table(
    schema: &SchemaRef,
    rows: &[RecordBatch],
    maxrows: MaxRows,
    breaks: Breaks,
    format: &datafusion::config::FormatOptions,
    to: &mut Opened,
) -> Result<(), QueryError> {
    let options = FormatOptions::try_from(format)?;
    let none = RecordBatch::new_empty(Arc::clone(schema));
    let schema = visible_rows(&none, &options, breaks)?.schema();
    let rows = rows.iter().map(|rows| visible_rows(rows, &options, breaks)).collect::<Result<Vec<_>, _>>()?;
    PrintFormat::Table.print_batches(to, schema, &rows, maxrows, true, format)?;
    Ok(())
}
