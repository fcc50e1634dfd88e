//! The client: its connection and its settings.
//!
//! Keeps no state between calls but the names that it has made. What is tried again is the business
//! of `call.rs`; what can be called is in `enqueue`, `follow`, `queues`, `dead_letters` and `admin`.

use std::time::Duration;

use redrive_proto::v1::{self, task_service_client::TaskServiceClient};
use tonic::transport::Channel;

use crate::{
    call::Caller,
    check::{check_name, span},
    check_life::{check_actor, check_request_id, check_request_ttl},
    connect::{self, Address},
    error::Error,
    limits::MESSAGE_BYTES_MAX,
    names::Names,
};

/// How long a call may take, retries included, unless the client says otherwise.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// A connection to a coordinator. Cheap to clone; clones share the connection.
///
/// Every call ends within its deadline and is tried again until then while the coordinator is
/// unavailable. Calls that change something carry a request id then, one for all attempts, by which
/// the coordinator performs them once; bulk acts (`.._many`), which have none, are tried again only
/// where it is certain that they were not performed. [`Error`] says of every failure which it was.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) channel: Channel,
    pub(crate) caller: Caller,
    pub(crate) namespace: String,
}

impl Client {
    /// Connects to `host:port` or `http://host:port`, in one attempt; later the connection is made
    /// again by itself whenever a call needs it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that cannot be one, [`Error::Connect`] where nobody
    /// answers within 5 s.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let address: Address = address.parse()?;
        Self::with_channel(connect::connect(&address).await?, &address.to_string())
    }

    /// The same, but connects when the first call needs it. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that cannot be one.
    pub fn lazy(address: &str) -> Result<Self, Error> {
        let address: Address = address.parse()?;
        Self::with_channel(connect::connect_lazy(&address), &address.to_string())
    }

    /// A client on a channel that was made elsewhere; `address` is for error messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the operating system gives no randomness for the backoff.
    pub fn with_channel(channel: Channel, address: &str) -> Result<Self, Error> {
        let names = Names::new()?;
        let caller = Caller::new(address, DEADLINE_DEFAULT, connect::os_seed()?, names);
        Ok(Self {
            channel,
            caller,
            namespace: String::new(),
        })
    }

    /// The namespace of all later calls. Default: "default".
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no name.
    pub fn with_namespace(mut self, namespace: &str) -> Result<Self, Error> {
        check_name("namespace", namespace)?;
        namespace.clone_into(&mut self.namespace);
        Ok(self)
    }

    /// How long each later call may take, retries included. Default: [`DEADLINE_DEFAULT`]. Waits
    /// and streams last longer: there it is how long the coordinator may be out of reach.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.caller.deadline = deadline;
        self
    }

    /// Who acts, as shown in the history of tasks and queues: at most 128 bytes of visible ASCII, for
    /// example "ada@build7". A claim that nobody checks. Default: nobody is named.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it cannot be one.
    pub fn with_actor(mut self, actor: &str) -> Result<Self, Error> {
        check_actor(actor)?;
        let parsed = actor.parse().map_err(|error| {
            let problem = format!("{actor:?} cannot be a header ({error}); use letters");
            Error::invalid("actor", problem)
        })?;
        self.caller.actor = Some(parsed);
        Ok(self)
    }

    /// Names the next change, so that the user can repeat it, in another process too: a change with
    /// the same id and content is performed once and answered alike; the same id with another
    /// content is refused with reason `REQUEST_ID_REUSED`. Meant for one change:
    /// `client.clone().with_request_id("import-7")?.enqueue(task)`. 1 to 128 bytes of printable
    /// text. Default: an id of its own for each call, for the client's own retries.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it cannot be one.
    pub fn with_request_id(mut self, request_id: &str) -> Result<Self, Error> {
        check_request_id(request_id)?;
        self.caller.request.id = Some(request_id.to_owned());
        Ok(self)
    }

    /// How long request ids are remembered, 1 s to 24 h. Default: 10 minutes for one that the user
    /// set, a little longer than the call's deadline otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside these bounds.
    pub fn with_request_ttl(mut self, ttl: Duration) -> Result<Self, Error> {
        let ttl = span(ttl);
        check_request_ttl(&ttl)?;
        self.caller.request.ttl = Some(ttl);
        Ok(self)
    }

    /// What to list or act on: this client's namespace, a queue (empty: all of them) and a filter
    /// (empty: everything).
    #[must_use]
    pub fn select(&self, queue: &str, filter: &str) -> v1::Selection {
        v1::Selection {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            filter: filter.to_owned(),
        }
    }

    pub(crate) fn fill_namespace(&self, selection: &mut Option<v1::Selection>) {
        let selection = selection.get_or_insert_default();
        if selection.namespace.is_empty() {
            self.namespace.clone_into(&mut selection.namespace);
        }
    }

    /// The channel below, for calls that this client does not wrap.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The namespace set; empty for "default".
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}
