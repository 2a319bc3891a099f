// Asks a PostgreSQL server by pg, and prints what it is answered.
//
// Usage: node by_pg.js PORT KEY ASKS
const { readFileSync } = require('node:fs');
const { Client, Pool, Query, types } = require('pg');
const Cursor = require('pg-cursor');
const { to } = require('pg-copy-streams');

const ENDLESS = 'select count(*) from generate_series(1, 1000000000000) where value % 7 = 8';
const COPIED = "select ad_id, clicks from clicks_daily where campaign_id = 'spring' order by 1";

// Numbers that a double does not hold come as texts, unless one says otherwise.
types.setTypeParser(20, Number);
types.setTypeParser(1016, (text) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(Number)));

const shown = (value) => {
  if (value instanceof Date) return value.toISOString().replace('.000Z', 'Z');
  return Array.isArray(value) ? value.map(shown) : value;
};

const bound = ([kind, value]) => {
  if (value === null) return null;
  if (kind === 'time') return new Date(value);
  return kind === 'times' ? value.map((one) => new Date(one)) : value;
};

const code = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return error.code;
  }
};

const goesOn = async (client) => {
  await client.query('begin');
  await client.query('savepoint a');
  await code(() => client.query('select nothing from clicks'));
  try {
    await client.query('rollback to savepoint a');
    return (await client.query('select 1 as one')).rows[0].one;
  } catch (error) {
    return `${error.code}: ${error.message}`;
  } finally {
    await client.query('rollback');
  }
};

async function main(port, password, path) {
  const server = { host: '127.0.0.1', port: Number(port), user: 'someone', database: 'clicklake' };
  const all = JSON.parse(readFileSync(path)).map((ask) => [ask.sql, ask.values.map(bound)]);
  const found = { asked: {} };
  found.wrong_key = await code(() => new Client({ ...server, password: 'wrong' }).connect());
  const client = new Client({ ...server, password });
  await client.connect();
  const answer = async (config) => {
    try {
      return shown((await client.query({ ...config, rowMode: 'array' })).rows);
    } catch (error) {
      return `${error.code}: ${error.message}`;
    }
  };
  for (const mode of ['unnamed', 'named', 'again']) {
    found.asked[mode] = [];
    for (const [at, [text, values]] of all.entries()) {
      const name = mode === 'unnamed' ? undefined : `ask ${at}`;
      found.asked[mode].push(await answer({ name, text, values }));
    }
  }
  const cursor = client.query(new Cursor(all[2][0], all[2][1], { rowMode: 'array' }));
  found.asked.cursor = [null, null, shown([...(await cursor.read(1)), ...(await cursor.read(10))])];
  await cursor.close();
  found.copied = '';
  for await (const part of client.query(to(`copy (${COPIED}) to stdout (format csv, header)`))) found.copied += part;
  found.cancelled = await code(() => new Promise((done, failed) => {
    const query = new Query(ENDLESS, (error) => (error ? failed(error) : done()));
    client.query(query);
    setTimeout(() => new Client({ ...server, password }).cancel(client, query), 300);
  }));
  await client.query("set statement_timeout to '300ms'");
  found.timed_out = await code(() => client.query(ENDLESS));
  found.refused = await code(() => client.query('delete from clicks'));
  found.unknown = await code(() => client.query('select nothing from clicks'));
  found.goes_on = await goesOn(client);
  const fields = (await client.query('select window_start, clicks, ad_id from clicks_minute where 1 = 0')).fields;
  const pool = new Pool({ ...server, password, max: 2 });
  const sums = await Promise.all(['1', '2', '1', '2'].map(async (ad) => {
    const sum = await pool.query('select sum(clicks) as clicks from clicks_minute where ad_id = $1', [ad]);
    return sum.rows[0].clicks;
  }));
  await pool.end();
  found.own = { types: fields.map((field) => field.dataTypeID), pool: sums };
  await client.end();
  console.log(JSON.stringify(found));
}

main(...process.argv.slice(2));
