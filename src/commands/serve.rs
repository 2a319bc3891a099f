//! `clicklake serve`: totals over HTTP, a live page, and SQL over the PostgreSQL wire, until it is told to stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use lake_schemas::Lake;
use query::serve::{Keys, Postgres, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Usage;
use crate::arguments::Serve;
use crate::report;
use crate::{memory, metrics};

pub async fn run(lake: &str, command: Serve, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let keys = command.keys.as_deref().map(read_keys).transpose()?.map(Arc::new);
    let at = |flag: &'static str, address| at(flag, address, keys.is_some());
    let http = at("--listen", command.listen)?.await?;
    let postgres = match command.postgres {
        Some(address) => {
            let listener = at("--postgres", address)?.await?;
            let memory = command.memory_limit.unwrap_or_else(memory::three_quarters);
            Some((Postgres::new(lake.clone(), keys.clone(), memory)?, listener))
        }
        None => None,
    };
    say("http", http.local_addr()?, "");
    if let Some((_, listener)) = &postgres {
        say("postgresql", listener.local_addr()?, "/clicklake");
    }
    let mut server = Server::new(lake, keys.clone())?.asked_from(&command.cors_origin);
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

/// Listens at an address, if whoever can come there may be served.
pub fn at(
    flag: &'static str,
    address: SocketAddr,
    has_keys: bool,
) -> Result<impl Future<Output = anyhow::Result<TcpListener>>, Usage> {
    if !has_keys && !address.ip().is_loopback() {
        let port = address.port();
        let why = "without --keys, everyone who can reach it would see everything";
        return Err(Usage(format!("{flag} {address}: {why}; give --keys FILE, or listen on 127.0.0.1:{port}")));
    }
    Ok(async move { TcpListener::bind(address).await.with_context(|| format!("{flag} {address}")) })
}

fn read_keys(file: &Path) -> anyhow::Result<Keys> {
    let text = std::fs::read_to_string(file).with_context(|| format!("--keys {}", file.display()))?;
    Keys::parse(&text).with_context(|| format!("--keys {}", file.display()))
}

/// Says where somebody is served, who may have asked for any port.
fn say(protocol: &str, address: SocketAddr, path: &str) {
    report::say(&format!("serving {protocol}://{address}{path}"));
}
