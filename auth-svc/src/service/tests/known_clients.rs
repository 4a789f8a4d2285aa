//! Devices and sessions by which a login is known to be the user's own.

use super::*;

#[tokio::test]
async fn a_device_is_known_again_to_its_own_user_alone() {
    let Bench { service, postgres, .. } = bench().await;
    for name in ["alice", "mallory"] {
        service.register(name, PASSWORD, None, &client()).await.unwrap();
    }
    let login = service.login("alice", PASSWORD, &client(), "made up").await.unwrap();
    let device = login.device.unwrap();
    let known = async |username: &str| service.recognize(username, device.encoded(), "").await.unwrap();
    assert_eq!(known("ALICE").await, Some(KnownAs::Device(device.hash())));
    for stranger in ["mallory", "nobody", "?"] {
        assert_eq!(known(stranger).await, None, "{stranger}");
    }
    let again = service.login("alice", PASSWORD, &client(), device.encoded()).await.unwrap();
    assert_eq!(again.device, Some(device.clone()), "it stays the same device");
    let other = service.login("mallory", PASSWORD, &client(), device.encoded()).await.unwrap();
    assert_ne!(other.device, Some(device.clone()), "another user's is none");

    let expire = "UPDATE known_devices SET expires_at = now()";
    postgres.run("test", async |connection| sqlx::query(expire).execute(connection).await).await.unwrap();
    assert_eq!(known("alice").await, None);
    let renewed = service.login("alice", PASSWORD, &client(), device.encoded()).await.unwrap();
    assert_ne!(renewed.device, Some(device.clone()), "an expired one is none");
    assert_eq!(service.devices.forget_expired().await.unwrap(), 2);
}

#[tokio::test]
async fn a_session_is_recognised_for_its_own_user_alone_and_while_it_lasts() {
    let Bench { service, .. } = bench().await;
    for name in ["alice", "mallory"] {
        service.register(name, PASSWORD, None, &client()).await.unwrap();
    }
    let login = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    let known = async |username: &str| service.recognize(username, "", login.token.encoded()).await.unwrap();
    assert_eq!(known("Alice").await, Some(KnownAs::Session(login.session.id)));
    for stranger in ["mallory", "nobody", "?"] {
        assert_eq!(known(stranger).await, None, "{stranger}");
    }
    service.logout(login.token.encoded(), &client()).await.unwrap();
    assert_eq!(known("alice").await, None);
}

#[tokio::test]
async fn devices_of_one_user_are_bounded_and_those_go_first_that_never_came_back() {
    let Bench { service, postgres, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let laptop = service.devices.remember(user.id, None).await.unwrap();
    service.devices.remember(user.id, Some(laptop.clone())).await.unwrap();
    let forgotten = service.devices.remember(user.id, None).await.unwrap();
    for _ in 0..60 {
        service.devices.remember(user.id, None).await.unwrap();
    }
    let known = async |device: &DeviceToken| {
        service.recognize("alice", device.encoded(), "").await.unwrap().is_some()
    };
    assert!(known(&laptop).await && !known(&forgotten).await);
    let count = postgres.run("test", async |connection| {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM known_devices").fetch_one(connection).await
    });
    assert_eq!(count.await.unwrap(), 50);
    let stored = postgres.run("test", async |connection| {
        sqlx::query_scalar::<_, String>("SELECT string_agg(known_devices::text, '') FROM known_devices")
            .fetch_one(connection)
            .await
    });
    assert!(!stored.await.unwrap().contains(laptop.encoded()), "no token is stored");
}
