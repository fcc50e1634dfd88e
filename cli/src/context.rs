//! What every verb is given: the flags that all share, the output, and the way to the coordinator.
//! Never reads the environment: clap does.

use redrive_client::{Address, Client, limits::ACTOR_BYTES_MAX};

use crate::{
    args::{ADDRESS_DEFAULT, Global},
    output::Output,
};

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where data goes.
    pub(crate) out: Output,
    /// The shared flags.
    pub(crate) global: Global,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self {
            out: Output::new(global.output, !global.without_color()),
            global,
        }
    }

    /// The coordinator's address: the one given, else the default.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        match &self.global.address {
            Some(address) => Ok(address.clone()),
            None => Ok(ADDRESS_DEFAULT.parse()?),
        }
    }

    /// Connects to the coordinator, in one attempt.
    ///
    /// # Errors
    /// Where nobody answers there, or the namespace is no name.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let client = Client::connect(&self.address()?.to_string()).await?;
        let client = client.with_namespace(&self.global.namespace)?;
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        match actor(self.global.user.as_deref().unwrap_or_default(), &host) {
            Some(actor) => Ok(client.with_actor(&actor)?),
            None => Ok(client),
        }
    }
}

/// Who acts: "user@host", as far as it is known and fits into a header.
fn actor(user: &str, host: &str) -> Option<String> {
    let name = match (user, host) {
        ("", host) => host.to_owned(),
        (user, "") => user.to_owned(),
        (user, host) => format!("{user}@{host}"),
    };
    let fits = name.chars().filter(char::is_ascii_graphic);
    let name: String = fits.take(ACTOR_BYTES_MAX).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_is_told_as_far_as_it_is_known() {
        let of = |user, host| actor(user, host).unwrap_or_default();
        assert_eq!(of("ada", "build7"), "ada@build7");
        assert_eq!(of("", "build7"), "build7");
        assert_eq!(of("ada", ""), "ada");
        assert_eq!(of("", ""), "");
        assert_eq!(of("a\u{e9} da\n", "h"), "ada@h");
        assert_eq!(of(&"x".repeat(200), "h").len(), ACTOR_BYTES_MAX);
    }
}
