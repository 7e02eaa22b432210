//! The sentinels, which know the server that takes writes.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::connect::Logins;
use crate::credentials::Authentication;
use crate::failure::Failure;
use crate::link::Link;
use crate::settings::Node;
use crate::store::Store;
use config::SentinelConfig;

/// The sentinels, with the connections to those that answered last.
#[derive(Default)]
pub(crate) struct Sentinels {
    // By their place in the settings.
    answered: HashMap<usize, Arc<Link>>,
}

/// Where the server is, and the host that its certificate is verified by.
type Master = (Node, String);

/// Host and port, as sentinels give them. The client would cast a number into a port.
pub(crate) type Address = (String, i64);

impl Sentinels {
    /// Where the server is that most of them name: one that is cut off from the others names the one that was. Nobody is waited
    /// for once more than half of all agree.
    pub(crate) async fn master(&mut self, store: &Store, config: &SentinelConfig) -> Result<Master, Failure> {
        let name = config.master.as_str();
        let authentication = Authentication::by_password(config.username.as_ref(), config.password.as_ref());
        let sentinels = &store.nodes;
        let logins = Logins::new(&authentication);
        let mut asking: FuturesUnordered<_> = sentinels
            .iter()
            .enumerate()
            .map(|(index, sentinel)| {
                let link = self.answered.get(&index).filter(|link| !link.is_lost()).cloned();
                let logins = &logins;
                async move { (index, ask(store, sentinel, link, name, logins).await) }
            })
            .collect();
        let mut votes: Vec<(Master, usize)> = Vec::new();
        let mut failure = Failure::NoMaster(name.to_owned());
        while let Some((index, answer)) = asking.next().await {
            match answer {
                Ok((link, master)) => {
                    self.answered.insert(index, link);
                    let count = count(&mut votes, master);
                    if count * 2 > sentinels.len() {
                        break;
                    }
                }
                Err(why) => failure = why,
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(master, _)| master).ok_or(failure)
    }
}

/// One more names that server. How many do.
fn count(votes: &mut Vec<(Master, usize)>, master: Master) -> usize {
    // Sentinels may be known by different hosts; what counts is the server.
    if let Some((_, count)) = votes.iter_mut().find(|((node, _), _)| *node == master.0) {
        *count += 1;
        return *count;
    }
    votes.push((master, 1));
    1
}

async fn ask(
    store: &Store,
    sentinel: &Node,
    link: Option<Arc<Link>>,
    name: &str,
    logins: &Logins<'_>,
) -> Result<(Arc<Link>, Master), Failure> {
    if let Some(link) = link
        && let Ok(master) = named_by(store, &link, name).await
    {
        return Ok((link, master));
    }
    let link = store.dialer.dial(sentinel, &sentinel.host, logins.get().await?).await?;
    let master = named_by(store, &link, name).await?;
    Ok((Arc::new(link), master))
}

async fn named_by(store: &Store, sentinel: &Link, name: &str) -> Result<Master, Failure> {
    let node = || sentinel.node.to_string();
    let command = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).take();
    let answer = timeout(
        store.settings.connect_timeout,
        sentinel.ask::<Option<Address>>(&command),
    );
    match answer.await {
        Err(_) => Err(Failure::NoAnswer { node: node() }),
        Ok(Err(error)) => Err(Failure::of(node(), &error)),
        Ok(Ok(None)) => Err(Failure::NoMaster(name.to_owned())),
        Ok(Ok(Some(address))) => match named(address, &sentinel.node) {
            Some(master) => Ok((master, sentinel.known_as.clone())),
            None => Err(Failure::Nonsense { node: node() }),
        },
    }
}

/// The server that `sentinel` names, if it is one.
pub(crate) fn named((host, port): Address, sentinel: &Node) -> Option<Node> {
    let port = u16::try_from(port).ok()?;
    (!host.is_empty()).then_some(Node {
        host,
        port,
        is_tls: sentinel.is_tls,
    })
}

#[cfg(test)]
mod tests {
    use redis::FromRedisValue as _;

    use super::*;

    #[test]
    fn a_sentinel_names_the_server_that_it_says() {
        let sentinel = Node {
            host: "sentinel".to_owned(),
            port: 26379,
            is_tls: true,
        };
        let said = |answer: &str| {
            let value = redis::parse_redis_value(answer.as_bytes()).unwrap();
            let address = Option::<Address>::from_redis_value(value).ok()??;
            named(address, &sentinel).map(|node| node.to_string())
        };
        let master = Some("10.0.0.1:6379".to_owned());
        assert_eq!(said("*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n"), master);
        assert_eq!(said("*2\r\n$8\r\n10.0.0.1\r\n:6379\r\n"), master);
        for nonsense in [
            "*-1\r\n",
            "*2\r\n$8\r\n10.0.0.1\r\n:71915\r\n",
            "*2\r\n$8\r\n10.0.0.1\r\n:-59157\r\n",
            "*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
        ] {
            assert_eq!(said(nonsense), None, "{nonsense}");
        }
    }
}
