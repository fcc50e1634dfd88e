//! What every verb is given: the flags that all share, the output, and the way to the coordinator.

use redrive_client::{Address, Client};

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
        Ok(client.with_namespace(&self.global.namespace)?)
    }
}
