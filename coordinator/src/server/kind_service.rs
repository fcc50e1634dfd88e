//! KindService: what holds for all tasks of a kind.
//!
//! Owns the order parse, ask, answer of each call. Never decides whose word holds.

use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::kind_service_server::KindService;
use tonic::{Request, Response, Status};

use super::convert::kind::{kind_view, settings};
use super::convert::page::{NamesOf, name_cursor, name_token, page_size};
use super::convert::{At, Parsed, field};
use super::edge::{Edge, PAGE_BYTES_MAX, asked, confused};
use super::status::{Refused, answer};
use crate::engine::command::{Call, Caller};
use crate::engine::effect::Answer;
use crate::engine::ledger::kind::KindName;

/// KindService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Kinds {
    pub(crate) edge: Edge,
}

/// The kind that a request is about. Its name is written like a queue's.
fn named(namespace: &str, kind: &str) -> Parsed<KindName> {
    let root = At::Root;
    let namespace = field::namespace(namespace, root.field("namespace"))?;
    field::queue(&namespace, kind, root.field("kind"))
}

impl Kinds {
    async fn ask(&self, by: Caller, call: Call) -> Result<Option<pb::Kind>, Refused> {
        let Answer::Kind(kind) = self.edge.ask_as(by, call).await? else {
            return Err(confused("one kind"));
        };
        Ok(Some(kind_view(&kind)))
    }

    async fn set(
        &self,
        request: Request<pb::SetKindRequest>,
    ) -> Result<pb::SetKindResponse, Refused> {
        let (caller, request) = asked(request)?;
        let name = named(&request.namespace, &request.kind)?;
        let at = At::Root.field("settings");
        let settings = Box::new(settings(name.namespace(), request.settings, at)?);
        let kind = self.ask(caller, Call::SetKind { name, settings }).await?;
        Ok(pb::SetKindResponse { kind })
    }

    async fn get(&self, request: pb::GetKindRequest) -> Result<pb::GetKindResponse, Refused> {
        let call = Call::GetKind(named(&request.namespace, &request.kind)?);
        let kind = self.ask(Caller::default(), call).await?;
        Ok(pb::GetKindResponse { kind })
    }

    async fn list(&self, request: pb::ListKindsRequest) -> Result<pb::ListKindsResponse, Refused> {
        let root = At::Root;
        let call = Call::ListKinds {
            namespace: field::namespace(&request.namespace, root.field("namespace"))?,
            after: name_cursor(&request.page_token, NamesOf::Kinds)?,
            count_max: page_size(request.page_size)?,
        };
        let Answer::Kinds { kinds: found, more } = self.edge.ask(call).await? else {
            return Err(confused("kinds"));
        };
        let mut kinds: Vec<pb::Kind> = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for kind in &found {
            let kind = kind_view(kind);
            bytes += kind.encoded_len();
            kinds.push(kind);
            if bytes > PAGE_BYTES_MAX {
                break;
            }
        }
        let more = more || kinds.len() < found.len();
        let last = found.get(kinds.len().saturating_sub(1)).filter(|_| more);
        let token = last.map(|kind| name_token(&kind.name, NamesOf::Kinds));
        Ok(pb::ListKindsResponse {
            kinds,
            next_page_token: token.unwrap_or_default(),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteKindRequest>,
    ) -> Result<pb::DeleteKindResponse, Refused> {
        let (caller, request) = asked(request)?;
        let name = named(&request.namespace, &request.kind)?;
        let Answer::Done = self.edge.ask_as(caller, Call::DeleteKind(name)).await? else {
            return Err(confused("a kind that goes"));
        };
        Ok(pb::DeleteKindResponse {})
    }
}

#[tonic::async_trait]
impl KindService for Kinds {
    async fn set_kind(
        &self,
        request: Request<pb::SetKindRequest>,
    ) -> Result<Response<pb::SetKindResponse>, Status> {
        answer("SetKind", self.set(request).await)
    }

    async fn get_kind(
        &self,
        request: Request<pb::GetKindRequest>,
    ) -> Result<Response<pb::GetKindResponse>, Status> {
        answer("GetKind", self.get(request.into_inner()).await)
    }

    async fn list_kinds(
        &self,
        request: Request<pb::ListKindsRequest>,
    ) -> Result<Response<pb::ListKindsResponse>, Status> {
        answer("ListKinds", self.list(request.into_inner()).await)
    }

    async fn delete_kind(
        &self,
        request: Request<pb::DeleteKindRequest>,
    ) -> Result<Response<pb::DeleteKindResponse>, Status> {
        answer("DeleteKind", self.delete(request).await)
    }
}
