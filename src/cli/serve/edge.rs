//! The settings of `changeover serve` that concern reverse proxies: who may ask, and the keys of visitors' tokens.

use anyhow::Context;
use ipnet::IpNet;

use crate::edge::{KeyWish, Keys};
use crate::http::edge_desk::EdgeDesk;

#[derive(Debug, Clone, clap::Args)]
pub struct EdgeArguments {
    /// Addresses from which reverse proxies may ask /edge/{change} without a token, such as 127.0.0.1/32,10.0.0.0/8. Others show a
    /// token in X-Changeover-Token
    #[arg(long, env = "CHANGEOVER_EDGE_ALLOW", value_name = "NETWORK", value_delimiter = ',', value_parser = network)]
    pub edge_allow: Vec<IpNet>,

    /// A key that verifies visitors' JSON Web Tokens at the edge: a secret of 32 bytes or more for hs256, a public key in PEM form for
    /// rs256 or es256. A name may stand for several, while keys are changed
    #[arg(long = "edge-key", env = "CHANGEOVER_EDGE_KEYS", value_name = "NAME=ALGORITHM:FILE", value_delimiter = ',')]
    pub edge_keys: Vec<KeyWish>,
}

fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    parsed.map_err(|_| String::from("write an address or a network, such as 127.0.0.1 or 10.0.0.0/8"))
}

impl EdgeArguments {
    /// Reads the keys.
    pub fn desk(&self) -> anyhow::Result<EdgeDesk> {
        let mut keys = Keys::default();
        for wish in &self.edge_keys {
            let content = std::fs::read(&wish.file)
                .with_context(|| format!("{}, which --edge-key names, cannot be read", wish.file))?;
            keys.add(&wish.name, wish.algorithm, &content)?;
        }
        Ok(EdgeDesk::new(keys, self.edge_allow.clone()))
    }
}
