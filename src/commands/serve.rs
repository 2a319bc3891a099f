//! `clicklake serve`: serves totals over HTTP, a live page, and SQL over the PostgreSQL protocol, until it is told to
//! stop.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use lake_schemas::Code;
use lake_store::Lake;
use serve::{Keys, Postgres, Program, Server, Tls, raise_open_files};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Usage;
use crate::arguments::{Common, Serve};
use crate::{memory, metrics, report};

/// Divisor of the memory for the part that is for answers over HTTP; the rest is for SQL.
const HTTP_SHARE: usize = 3;

/// Path of this program, valid even if its file was replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

pub async fn run(common: &Common, command: Serve, stop: CancellationToken) -> anyhow::Result<()> {
    raise_open_files().context("raising the limit of open files")?;
    let lake = Lake::at(&common.lake)?;
    let memory = command.memory_limit.unwrap_or_else(memory::three_quarters);
    let for_http = memory / HTTP_SHARE;
    let keys = command.keys.as_deref().map(read_keys).transpose()?.map(Arc::new);
    let at = |flag: &'static str, address| at(flag, address, keys.is_some());
    let tls = match (&command.tls_cert, &command.tls_key) {
        (Some(certificate), Some(key)) => Some(Arc::new(Tls::new(certificate, key)?)),
        _ => None,
    };
    let http = at("--listen", command.listen)?.await?;
    let postgres = match command.postgres {
        Some(address) => {
            let listener = at("--postgres", address)?.await?;
            let program = this_program(common).context("finding this program")?;
            let postgres = Postgres::by_processes(program, keys.clone(), memory - for_http);
            let postgres = postgres.context("a folder for sockets (TMPDIR says where)")?;
            Some((tls.iter().cloned().fold(postgres, Postgres::with_tls), listener))
        }
        None => None,
    };
    say(if tls.is_some() { "https" } else { "http" }, http.local_addr()?, "");
    if let Some((_, listener)) = &postgres {
        say("postgresql", listener.local_addr()?, "/clicklake");
    }
    let server = Server::new(lake, keys.clone(), for_http)?.asked_from(&command.cors_origin);
    let mut server = tls.into_iter().fold(server, Server::with_tls);
    if let Some(address) = command.metrics {
        metrics::serve_at(address, server.metrics()).await?;
    }
    let follow = async {
        if let (Some(keys), Some(file)) = (&keys, &command.keys) {
            keys.follow(file, &stop).await;
        }
    };
    tokio::join!(server.serve(http, postgres, stop.clone()), follow);
    Ok(())
}

/// Returns how to start this program as a worker that answers SQL of one key.
fn this_program(common: &Common) -> io::Result<Program> {
    let file = PathBuf::from(THIS_PROGRAM);
    let file = if file.exists() { file } else { env::current_exe()? };
    let format = common.log_format.to_possible_value().map(|format| format.get_name().to_owned()).unwrap_or_default();
    let mut arguments: Vec<OsString> =
        vec!["--lake".into(), common.lake.clone().into(), "--log-format".into(), format.into()];
    arguments.extend((0..common.verbose).map(|_| OsString::from("--verbose")));
    arguments.push("sql-worker".into());
    Ok(Program { file, arguments })
}

/// Listens at an address, if everyone who can reach it may be served.
pub fn at(
    flag: &'static str,
    address: SocketAddr,
    has_keys: bool,
) -> Result<impl Future<Output = anyhow::Result<TcpListener>>, Usage> {
    if !has_keys && !address.ip().is_loopback() {
        let port = address.port();
        let why = "without --keys, everyone who can reach it would see everything";
        let why = format!("{flag} {address}: {why}; give --keys FILE, or listen on 127.0.0.1:{port}");
        return Err(Usage(Code::KeysNeeded.because(why)));
    }
    Ok(async move { TcpListener::bind(address).await.with_context(|| format!("{flag} {address}")) })
}

fn read_keys(file: &Path) -> anyhow::Result<Keys> {
    Keys::read(file).with_context(|| format!("--keys {}", file.display()))
}

/// Prints where the server listens, because the caller may have asked for any port.
fn say(protocol: &str, address: SocketAddr, path: &str) {
    report::say(&format!("serving {protocol}://{address}{path}"));
}
