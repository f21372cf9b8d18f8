//! Where a host is. The client asks before each request, also where its connection is open, and
//! asking with a time limit costs a thread: so an answer is remembered for a while.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
    Error,
};

/// How long an answer counts, unless a request fails before.
const COUNTS: Duration = Duration::from_secs(60);

/// The last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembering(Arc<Mutex<Option<Answer>>>);

#[derive(Debug)]
struct Answer {
    host: String,
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Remembering {
    /// Asks anew next time.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn all(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> ResolvedSocketAddrs {
        let mut all = self.empty();
        addresses.into_iter().for_each(|address| all.push(address));
        all
    }
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return DefaultResolver::default().resolve(uri, config, timeout);
        };
        let host = DefaultResolver::host_and_port(scheme, authority).unwrap_or_default();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |answer: &&Answer| answer.host == host && answer.at.elapsed() < COUNTS;
        if let Some(answer) = known.as_ref().filter(fits) {
            return Ok(self.all(answer.addresses.iter().copied()));
        }
        // A number needs nobody to ask.
        let found = match host.parse::<SocketAddr>() {
            Ok(address) => self.all([address]),
            Err(_) => DefaultResolver::default().resolve(uri, config, timeout)?,
        };
        *known = Some(Answer {
            host,
            at: Instant::now(),
            addresses: found.iter().copied().collect(),
        });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_until_a_request_fails() {
        let resolver = Remembering::default();
        let ask = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default());
            found.unwrap().to_vec()
        };
        let number: SocketAddr = "127.0.0.1:4318".parse().unwrap();
        assert_eq!(ask("http://127.0.0.1:4318/v1/traces"), [number]);
        let known = || {
            let known = resolver.0.lock().unwrap();
            known.as_ref().map(|answer| answer.addresses.clone())
        };
        assert_eq!(known(), Some(vec![number]));
        // Something that only memory can say.
        let elsewhere: SocketAddr = "127.0.0.2:9".parse().unwrap();
        resolver.0.lock().unwrap().as_mut().unwrap().addresses = vec![elsewhere];
        assert_eq!(ask("http://127.0.0.1:4318/v1/logs"), [elsewhere]);
        // Another host is asked for.
        let sixth: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(ask("http://[::1]/"), [sixth]);
        assert_eq!(ask("http://127.0.0.1:4318/v1/traces"), [number]);
        resolver.forget();
        assert_eq!(known(), None);
        assert!(ask("http://localhost:4318")
            .iter()
            .all(|at| at.ip().is_loopback()));
    }
}
