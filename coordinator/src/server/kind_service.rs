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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Timestamp;
    use crate::engine::ledger::kind::{Kind, KindSettings};
    use crate::engine::rejection::Rejection;
    use crate::server::testing::Engine;

    fn kind(name: &KindName) -> Kind {
        Kind {
            name: name.clone(),
            settings: KindSettings::default(),
            revision: 1,
            at: Timestamp(1),
            proposed_by: None,
            recorded_at: 0,
        }
    }

    #[tokio::test]
    async fn kinds_are_listed_page_by_page() {
        let engine = Engine::answering(|call| {
            let Call::ListKinds {
                after, count_max, ..
            } = call
            else {
                panic!("not asked here: {call:?}")
            };
            assert_eq!(count_max, 1);
            let name = if after.is_some() { "b" } else { "a" };
            let name = KindName::new("default", name).unwrap();
            Ok(Answer::Kinds {
                kinds: vec![kind(&name)],
                more: after.is_none(),
            })
        });
        let kinds = Kinds {
            edge: engine.edge(),
        };
        let page = async |page_token: String| {
            let page_size = 1;
            let request = pb::ListKindsRequest {
                page_size,
                page_token,
                ..Default::default()
            };
            kinds.list(request).await
        };
        let first = page(String::new()).await.unwrap();
        assert_eq!(first.kinds[0].kind, "a");
        let second = page(first.next_page_token).await.unwrap();
        assert_eq!(second.kinds[0].kind, "b");
        assert_eq!(second.next_page_token, "");
        let queue = KindName::new("default", "a").unwrap();
        let foreign = page(name_token(&queue, NamesOf::Queues)).await;
        assert!(foreign.unwrap_err().to_string().starts_with("page_token"));
    }

    #[tokio::test]
    async fn a_kind_is_set_whole_and_once() {
        let engine = Engine::answering_callers(|caller, call| {
            let Call::SetKind { name, settings } = call else {
                panic!("not asked here: {call:?}")
            };
            assert!(caller.once.is_some());
            assert_eq!(settings.max_attempts, Some(3));
            Ok(Answer::Kind(Box::new(Kind {
                settings: *settings,
                ..kind(&name)
            })))
        });
        let kinds = Kinds {
            edge: engine.edge(),
        };
        let request = |kind: &str| {
            Request::new(pb::SetKindRequest {
                kind: kind.into(),
                settings: Some(pb::KindSettings {
                    max_attempts: Some(3),
                    ..Default::default()
                }),
                request_id: "r-1".into(),
                ..Default::default()
            })
        };
        let set = kinds.set(request("send")).await.unwrap().kind.unwrap();
        assert_eq!((set.kind.as_str(), set.revision), ("send", 1));
        let refused = kinds.set(request("")).await.unwrap_err();
        assert_eq!(refused.to_string(), "kind is required");
    }

    #[tokio::test]
    async fn a_kind_that_has_nothing_cannot_be_deleted() {
        let engine = Engine::answering(|call| {
            let Call::DeleteKind(name) = call else {
                panic!("not asked here: {call:?}")
            };
            Err(Rejection::KindNotFound(name))
        });
        let kinds = Kinds {
            edge: engine.edge(),
        };
        let request = pb::DeleteKindRequest {
            kind: "send".into(),
            ..Default::default()
        };
        let refused = kinds.delete(Request::new(request)).await.unwrap_err();
        assert_eq!(refused.reason().row().0, "KIND_NOT_FOUND");
    }
}
