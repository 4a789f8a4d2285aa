//! Three gateways and two of each service are one system.

use serde_json::json;
use tests::person::Person;
use tests::stack::Stack;

#[tokio::test]
async fn a_session_opened_at_one_gateway_holds_at_all() {
    let stack = Stack::shared();
    let apis = stack.apis();
    for first in &apis {
        let ada = Person::signed_in(first).await;
        for other in &apis {
            // Often enough to reach every replica behind it.
            for _ in 0..8 {
                assert_eq!(ada.me(other).await.expect(200).json()["id"], ada.id);
                assert_eq!(ada.profile(other).await.expect(200).json()["id"], ada.id);
            }
        }
    }
}

#[tokio::test]
async fn what_one_gateway_was_told_all_gateways_tell() {
    let stack = Stack::shared();
    let [a, b, c] = &stack.apis()[..] else { panic!("three gateways") };
    let ada = Person::registered(a).await;
    ada.register(b).await.expect_problem(409, "USERNAME_TAKEN");

    let ada = ada.sign_in(b).await;
    ada.change(c, &json!({"displayName": "Ada Lovelace"})).await.expect(200);
    assert_eq!(ada.profile(a).await.expect(200).json()["displayName"], "Ada Lovelace");
    let public = a.get(&ada.person.public_profile()).await.expect(200).json();
    assert_eq!(public["displayName"], "Ada Lovelace");
}

#[tokio::test]
async fn sessions_of_one_user_are_apart() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let (phone, laptop) = (ada.sign_in(&apis[0]).await, ada.sign_in(&apis[1]).await);
    assert_ne!(phone.token, laptop.token);

    phone.log_out(&apis[2]).await.expect(204);
    for api in &apis {
        phone.me(api).await.expect_problem(401, "SESSION_INVALID");
        laptop.me(api).await.expect(200);
    }
}
