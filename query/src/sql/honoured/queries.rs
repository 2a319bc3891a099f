//! Checks a statement with its queries, clause by clause.

use std::ops::ControlFlow;

use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::sql::parser;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, ExprWithAliasAndOrderBy, GroupByExpr, Join, LimitClause, NamedWindowDefinition, NamedWindowExpr,
    OrderBy, OrderByKind, PipeOperator, Query, Select, SelectFlavor, SelectItem, SetExpr, SetOperator, Statement,
    TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs, TableWithJoins, WildcardAdditionalOptions, With,
};
use lake_schemas::Code;
use lake_store::LakeError;

use super::expressions::has_names;
use super::visitor::Honoured;
use crate::sql::errors::refused;
use crate::sql::visited::{Look, look_at};

/// Advice for an earlier version of a table.
const TRAVELS: &str = "for an earlier version write t VERSION AS OF 412";

/// Reason for which a statement that asks to lock rows is refused.
const NO_LOCKS: &str = "nothing is locked here; leave it out";

/// Advice for settings of other engines.
const LEAVE_OUT: &str = "leave it out";

/// Refuses a statement of which the planner would ignore a part, in a session with these functions.
pub(crate) fn check(statement: &parser::Statement, state: &SessionState) -> Result<()> {
    let mut honoured = Honoured { state, outermost: outermost(statement), refusal: None };
    // The visitor breaks off only with a refusal, which it keeps.
    let _ = look_at(statement, &mut honoured);
    honoured.refusal.map_or(Ok(()), |why| Err(refused(LakeError::Refused(Code::StatementUnsupported.because(why)))))
}

/// Returns the select that is the body of the whole statement, if it is one.
fn outermost(statement: &parser::Statement) -> Option<&Select> {
    let parser::Statement::Statement(statement) = statement else { return None };
    let Statement::Query(query) = statement.as_ref() else { return None };
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select.as_ref()),
        _ => None,
    }
}

impl Honoured<'_> {
    fn with(&mut self, with: &With) -> ControlFlow<()> {
        let With { with_token: _, recursive, cte_tables } = with;
        for Cte { alias, query, from, materialized: _, closing_paren_token: _ } in cte_tables {
            self.alias(alias)?;
            self.refuse(from.is_some(), "FROM behind a query of WITH", LEAVE_OUT)?;
            self.refuse(
                *recursive && is_union(&query.body) && has_more_than_its_body(query),
                "WITH, ORDER BY, LIMIT or a pipe in a query of WITH RECURSIVE",
                "write it where the rows are used",
            )?;
        }
        ControlFlow::Continue(())
    }

    fn alias(&mut self, alias: &TableAlias) -> ControlFlow<()> {
        let TableAlias { explicit, name, columns, at } = alias;
        let is_final = !explicit && name.quote_style.is_none() && name.value.eq_ignore_ascii_case("final");
        self.refuse(is_final, "FINAL", "counts are never merged later; if it is an alias, write AS final")?;
        self.refuse(at.is_some(), "AT behind an alias", TRAVELS)?;
        let is_typed = columns.iter().any(|TableAliasColumnDef { name: _, data_type }| data_type.is_some());
        self.refuse(
            is_typed,
            "a type in the columns of an alias",
            "write the names only, and CAST where a value is used",
        )
    }

    fn joins(&mut self, tables: &TableWithJoins) -> ControlFlow<()> {
        let TableWithJoins { relation: _, joins } = tables;
        joins.iter().try_for_each(|join| self.join(join))
    }

    fn join(&mut self, join: &Join) -> ControlFlow<()> {
        // DataFusion refuses the operators that it does not know.
        let Join { relation: _, global, join_operator: _ } = join;
        self.refuse(*global, "GLOBAL JOIN", "write JOIN")
    }

    fn items(&mut self, items: &[SelectItem]) -> ControlFlow<()> {
        items.iter().try_for_each(|item| match item {
            // DataFusion refuses several aliases.
            SelectItem::UnnamedExpr(_)
            | SelectItem::ExprWithAlias { expr: _, alias: _ }
            | SelectItem::ExprWithAliases { expr: _, aliases: _ } => ControlFlow::Continue(()),
            SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => self.wildcard(options),
        })
    }

    fn wildcard(&mut self, options: &WildcardAdditionalOptions) -> ControlFlow<()> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude: _,
            opt_except: _,
            opt_replace,
            // DataFusion refuses these.
            opt_rename: _,
            opt_alias: _,
        } = options;
        self.refuse(opt_ilike.is_some(), "* ILIKE", "name the columns")?;
        self.refuse_named_windows(opt_replace)
    }

    fn pipe(&mut self, operator: &PipeOperator) -> ControlFlow<()> {
        self.refuse_named_windows(operator)?;
        match operator {
            PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                let is_ordered = |one: &ExprWithAliasAndOrderBy| {
                    one.order_by.asc.is_some() || one.order_by.nulls_first.is_some()
                };
                let is_said = full_table_exprs.iter().chain(group_by_expr).any(is_ordered);
                self.refuse(is_said, "an order in |> AGGREGATE", "write |> ORDER BY behind it")
            }
            PipeOperator::Join(join) => self.join(join),
            PipeOperator::Select { exprs } | PipeOperator::Extend { exprs } => self.items(exprs),
            PipeOperator::Limit { expr: _, offset: _ }
            | PipeOperator::Where { expr: _ }
            | PipeOperator::OrderBy { exprs: _ }
            | PipeOperator::As { alias: _ }
            | PipeOperator::Union { set_quantifier: _, queries: _ }
            | PipeOperator::Intersect { set_quantifier: _, queries: _ }
            | PipeOperator::Except { set_quantifier: _, queries: _ }
            // DataFusion refuses these.
            | PipeOperator::Set { assignments: _ }
            | PipeOperator::Drop { columns: _ }
            | PipeOperator::TableSample { sample: _ }
            | PipeOperator::Rename { mappings: _ }
            | PipeOperator::Call { function: _, alias: _ }
            | PipeOperator::Pivot { aggregate_functions: _, value_column: _, value_source: _, alias: _ }
            | PipeOperator::Unpivot { value_column: _, name_column: _, unpivot_columns: _, alias: _ } => {
                ControlFlow::Continue(())
            }
        }
    }

    fn order_by(&mut self, order_by: &OrderBy, body: &SetExpr) -> ControlFlow<()> {
        // DataFusion refuses INTERPOLATE.
        let OrderBy { kind, interpolate: _ } = order_by;
        match kind {
            OrderByKind::All(_) => {
                let is_select = matches!(body, SetExpr::Select(_));
                self.refuse(!is_select, "ORDER BY ALL of rows that several queries make", "name the columns")
            }
            OrderByKind::Expressions(expressions) => self.refuse_named_windows(expressions),
        }
    }
}

impl Look for Honoured<'_> {
    fn statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let Statement::Explain {
            describe_alias: _,
            analyze: _,
            verbose: _,
            query_plan,
            estimate,
            statement: _,
            format: _,
            options,
        } = statement
        else {
            return ControlFlow::Continue(());
        };
        let is_said = *query_plan || *estimate || options.is_some();
        self.refuse(is_said, "EXPLAIN QUERY PLAN, ESTIMATE or (…)", "write EXPLAIN, EXPLAIN VERBOSE or EXPLAIN ANALYZE")
    }

    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            // DataFusion refuses it.
            fetch: _,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.refuse(!locks.is_empty(), "FOR UPDATE or FOR SHARE", NO_LOCKS)?;
        self.refuse(for_clause.is_some(), "FOR XML, FOR JSON or FOR BROWSE", "ask with --format json for JSON")?;
        self.refuse(settings.is_some(), "SETTINGS", LEAVE_OUT)?;
        self.refuse(format_clause.is_some(), "FORMAT", "ask with --format for another one")?;
        if let Some(with) = with {
            self.with(with)?;
        }
        if let Some(order_by) = order_by {
            self.order_by(order_by, body)?;
        }
        match limit_clause {
            Some(LimitClause::LimitOffset { limit: _, offset: _, limit_by }) => {
                self.refuse(!limit_by.is_empty(), "LIMIT … BY", "number the rows with row_number() OVER (…)")?;
            }
            Some(LimitClause::OffsetCommaLimit { offset: _, limit: _ }) | None => {}
        }
        pipe_operators.iter().try_for_each(|operator| self.pipe(operator))
    }

    fn select(&mut self, select: &Select) -> ControlFlow<()> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            // DataFusion refuses it.
            top: _,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            // DataFusion refuses it.
            lateral_views: _,
            prewhere,
            selection,
            connect_by,
            group_by,
            // DataFusion refuses these.
            cluster_by: _,
            distribute_by: _,
            sort_by: _,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.refuse(!optimizer_hints.is_empty(), "an optimizer hint (/*+ … */)", LEAVE_OUT)?;
        self.refuse(select_modifiers.is_some(), "a modifier of MySQL's behind SELECT", LEAVE_OUT)?;
        self.refuse(exclude.is_some(), "EXCLUDE behind what is selected", "write * EXCLUDE (…)")?;
        let is_inner = !self.outermost.is_some_and(|outermost| std::ptr::eq(outermost, select));
        self.refuse(into.is_some() && is_inner, "SELECT INTO within a query", "write CREATE TABLE … AS around it")?;
        self.refuse(prewhere.is_some(), "PREWHERE", "write WHERE")?;
        self.refuse(!connect_by.is_empty(), "CONNECT BY", "write WITH RECURSIVE")?;
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
        let instead = "write GROUP BY ROLLUP (…), CUBE (…) or GROUPING SETS ((…), …)";
        self.refuse(!modifiers.is_empty(), "WITH ROLLUP, CUBE, TOTALS or GROUPING SETS behind GROUP BY", instead)?;
        self.refuse(value_table_mode.is_some(), "SELECT AS STRUCT or AS VALUE", "name the columns")?;
        let is_bare = *flavor == SelectFlavor::FromFirstNoSelect;
        self.refuse(is_bare, "FROM without SELECT", "write SELECT * FROM …")?;
        self.items(projection)?;
        from.iter().try_for_each(|tables| self.joins(tables))?;
        for NamedWindowDefinition(_, window) in named_window {
            match window {
                NamedWindowExpr::WindowSpec(window) => self.window(window)?,
                // DataFusion refuses it where it is used.
                NamedWindowExpr::NamedWindow(_) => {}
            }
        }
        self.refuse_named_windows(distinct)?;
        self.refuse_named_windows(from)?;
        self.refuse_named_windows(selection)?;
        self.refuse_named_windows(group_by)?;
        self.refuse_named_windows(having)?;
        self.refuse_named_windows(qualify)
    }

    fn table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let alias = match factor {
            TableFactor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                if let Some(TableFunctionArgs { args: _, settings }) = args {
                    self.refuse(settings.is_some(), "SETTINGS", LEAVE_OUT)?;
                }
                let has_hints = !with_hints.is_empty() || !index_hints.is_empty();
                self.refuse(has_hints, "a hint for a table, such as WITH (NOLOCK),", LEAVE_OUT)?;
                if let Some(version) = version {
                    self.refuse(true, &version.to_string(), TRAVELS)?;
                }
                self.refuse(*with_ordinality, "WITH ORDINALITY", "number the rows with row_number() OVER ()")?;
                self.refuse(!partitions.is_empty(), "a choice of partitions", "write WHERE")?;
                self.refuse(json_path.is_some(), "a path into a table", "name the columns")?;
                self.refuse(sample.is_some(), "TABLESAMPLE", "all rows are read; choose some with WHERE")?;
                alias
            }
            TableFactor::Derived { lateral: _, subquery: _, alias, sample } => {
                self.refuse(sample.is_some(), "TABLESAMPLE", "all rows are read; choose some with WHERE")?;
                alias
            }
            TableFactor::Function { lateral: _, name: _, args, with_ordinality, alias } => {
                self.refuse(*with_ordinality, "WITH ORDINALITY", "number the rows with row_number() OVER ()")?;
                self.refuse(has_names(args), "the name of an argument", "write the arguments in their order")?;
                alias
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.joins(table_with_joins)?;
                alias
            }
            TableFactor::UNNEST {
                alias,
                array_exprs: _,
                // DataFusion refuses these.
                with_offset: _,
                with_offset_alias: _,
                with_ordinality: _,
            } => alias,
            // DataFusion refuses these.
            TableFactor::TableFunction { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::SemanticView { .. } => return ControlFlow::Continue(()),
        };
        match alias {
            Some(alias) => self.alias(alias),
            None => ControlFlow::Continue(()),
        }
    }

    fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.expression(expr)
    }
}

/// Returns whether a body is a union of queries.
fn is_union(body: &SetExpr) -> bool {
    matches!(body, SetExpr::SetOperation { op: SetOperator::Union, left: _, right: _, set_quantifier: _ })
}

/// Returns whether a query has more than its body: of a recursive one, DataFusion honours nothing else.
fn has_more_than_its_body(query: &Query) -> bool {
    let Query {
        with,
        body: _,
        order_by,
        limit_clause,
        fetch,
        pipe_operators,
        // These are refused wherever they are.
        locks: _,
        for_clause: _,
        settings: _,
        format_clause: _,
    } = query;
    with.is_some() || order_by.is_some() || limit_clause.is_some() || fetch.is_some() || !pipe_operators.is_empty()
}
