// Asks a PostgreSQL server by pgx, and prints what it is answered.
//
// Usage: by_pgx PORT KEY ASKS
package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	endless = "select count(*) from generate_series(1, 1000000000000) where value % 7 = 8"
	copied  = "select ad_id, clicks from clicks_daily where campaign_id = 'spring' order by 1"
)

var (
	background = context.Background()
	modes      = []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	}
)

type ask struct {
	SQL    string `json:"sql"`
	Values [][]any
}

type asker interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

func main() {
	dsn := func(key string) string {
		return fmt.Sprintf("postgresql://someone:%s@127.0.0.1:%s/clicklake?connect_timeout=20&sslmode=disable", key, os.Args[1])
	}
	config := must(pgx.ParseConfig(dsn(os.Args[2])))
	// A context that is over cancels the statement, and not the connection.
	config.BuildContextWatcherHandler = func(connection *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: connection, DeadlineDelay: 10 * time.Second}
	}
	var asks []ask
	if err := json.Unmarshal(must(os.ReadFile(os.Args[3])), &asks); err != nil {
		panic(err)
	}
	asked := map[string]any{}
	for _, mode := range modes {
		config.DefaultQueryExecMode = mode
		connection := must(pgx.ConnectConfig(background, config))
		answers := []any{}
		for _, ask := range asks {
			answers = append(answers, answer(connection, ask))
		}
		asked[mode.String()] = answers
		connection.Close(background)
	}
	found := map[string]any{"asked": asked}
	_, err := pgx.Connect(background, dsn("wrong"))
	found["wrong_key"] = code(err)
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	connection := must(pgx.ConnectConfig(background, config))
	asked["batch"] = batch(connection, asks[:3])
	var to bytes.Buffer
	_, err = connection.PgConn().CopyTo(background, &to, "copy ("+copied+") to stdout (format csv, header)")
	found["copied"] = or(to.String(), err)
	soon, cancel := context.WithTimeout(background, 300*time.Millisecond)
	_, err = connection.Exec(soon, endless)
	cancel()
	found["cancelled"] = code(err)
	execute := func(statement string) any {
		_, err := connection.Exec(background, statement)
		return code(err)
	}
	execute("set statement_timeout to '300ms'")
	found["timed_out"] = execute(endless)
	found["refused"] = execute("delete from clicks")
	found["unknown"] = execute("select nothing from clicks")
	found["goes_on"] = goesOn(connection)
	kind, err := connection.LoadType(background, "_timestamptz")
	own := map[string]any{"pool": pooled(dsn(os.Args[2])), "database/sql": ofLibrary(*config)}
	if err == nil {
		own["type"] = kind.OID
	} else {
		own["type"] = err.Error()
	}
	found["own"] = own
	connection.Close(background)
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func or(value any, err error) any {
	if err != nil {
		return err.Error()
	}
	return value
}

func code(err error) any {
	var known *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known.Code
	default:
		return err.Error()
	}
}

func answer(asker asker, ask ask) any {
	rows, err := asker.Query(background, ask.SQL, bound(ask.Values)...)
	if err != nil {
		return err.Error()
	}
	return or(collected(rows))
}

func collected(rows pgx.Rows) (any, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (any, error) {
		values, err := row.Values()
		return shown(values), err
	})
}

func bound(typed [][]any) []any {
	values := []any{}
	for _, one := range typed {
		values = append(values, boundAs(one[0].(string), one[1]))
	}
	return values
}

func boundAs(kind string, value any) any {
	if value == nil {
		return nil
	}
	switch kind {
	case "time":
		return must(time.Parse(time.RFC3339, value.(string)))
	case "int":
		return int64(value.(float64))
	case "texts":
		return each(value, func(one any) string { return one.(string) })
	case "ints":
		return each(value, func(one any) int64 { return int64(one.(float64)) })
	case "times":
		return each(value, func(one any) time.Time { return must(time.Parse(time.RFC3339, one.(string))) })
	default:
		return value
	}
}

func each[T any](values any, of func(any) T) []T {
	all := []T{}
	for _, one := range values.([]any) {
		all = append(all, of(one))
	}
	return all
}

func shown(value any) any {
	switch value := value.(type) {
	case time.Time:
		return value.UTC().Format(time.RFC3339)
	case []any:
		return each(value, shown)
	default:
		return value
	}
}

func batch(connection *pgx.Conn, asks []ask) any {
	batch := &pgx.Batch{}
	for _, ask := range asks {
		batch.Queue(ask.SQL, bound(ask.Values)...)
	}
	results := connection.SendBatch(background, batch)
	defer results.Close()
	answers := []any{}
	for range asks {
		rows, err := results.Query()
		if err != nil {
			return err.Error()
		}
		answers = append(answers, or(collected(rows)))
	}
	return answers
}

// A transaction within another is a savepoint.
func goesOn(connection *pgx.Conn) any {
	options := pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}
	outer, err := connection.BeginTx(background, options)
	if err != nil {
		return err.Error()
	}
	defer outer.Rollback(background)
	inner, err := outer.Begin(background)
	if err != nil {
		return err.Error()
	}
	_, _ = inner.Exec(background, "select nothing from clicks")
	if err := inner.Rollback(background); err != nil {
		return err.Error()
	}
	var one int
	err = outer.QueryRow(background, "select 1").Scan(&one)
	return or(one, err)
}

func pooled(dsn string) any {
	pool, err := pgxpool.New(background, dsn)
	if err != nil {
		return err.Error()
	}
	defer pool.Close()
	rows, err := pool.Query(background, "select ad_id, clicks from totals(null, null) where campaign_id = $1 order by 1", "spring")
	if err != nil {
		return err.Error()
	}
	type total struct {
		AdID   string
		Clicks int64
	}
	totals, err := pgx.CollectRows(rows, pgx.RowToStructByName[total])
	return or(totals, err)
}

func ofLibrary(config pgx.ConnConfig) any {
	database := stdlib.OpenDB(config)
	defer database.Close()
	transaction, err := database.BeginTx(background, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err.Error()
	}
	defer transaction.Rollback()
	var start time.Time
	var clicks sql.NullInt64
	row := transaction.QueryRow("select window_start, clicks from clicks_minute where ad_id = $1 order by 1 limit $2", "2", 1)
	if err := row.Scan(&start, &clicks); err != nil {
		return err.Error()
	}
	return []any{shown(start), clicks.Int64}
}
