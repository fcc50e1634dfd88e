//! KindService: what holds for all tasks of a kind.
//!
//! Owns the border of these calls between the wire and the engine's words. So far every call is a
//! stub that answers UNIMPLEMENTED: the engine keeps no kinds yet.

use redrive_proto::v1 as pb;
use redrive_proto::v1::kind_service_server::KindService;
use tonic::{Request, Response, Status};

use super::edge::Edge;

/// KindService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Kinds {
    #[expect(dead_code, reason = "the calls are stubs")]
    pub(crate) edge: Edge,
}

#[tonic::async_trait]
impl KindService for Kinds {
    async fn set_kind(
        &self,
        _request: Request<pb::SetKindRequest>,
    ) -> Result<Response<pb::SetKindResponse>, Status> {
        Err(Status::unimplemented("SetKind is not built yet"))
    }

    async fn get_kind(
        &self,
        _request: Request<pb::GetKindRequest>,
    ) -> Result<Response<pb::GetKindResponse>, Status> {
        Err(Status::unimplemented("GetKind is not built yet"))
    }

    async fn list_kinds(
        &self,
        _request: Request<pb::ListKindsRequest>,
    ) -> Result<Response<pb::ListKindsResponse>, Status> {
        Err(Status::unimplemented("ListKinds is not built yet"))
    }

    async fn delete_kind(
        &self,
        _request: Request<pb::DeleteKindRequest>,
    ) -> Result<Response<pb::DeleteKindResponse>, Status> {
        Err(Status::unimplemented("DeleteKind is not built yet"))
    }
}
