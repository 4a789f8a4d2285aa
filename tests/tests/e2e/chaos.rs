//! The short form of `make chaos`: fewer and shorter faults, the same load and the same model. What takes how long is not judged here.

use tests::chaos::GROUPS;
use tests::chaos::stage::Form;

async fn run(group: &str) {
    let group = GROUPS.iter().find(|it| it.name == group).expect("a group of that name");
    let chapter = group.run(Form::Short).await;
    let missed: Vec<_> = chapter.rows.iter().filter(|row| !row.missed.is_empty()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(!chapter.rows.is_empty());
}

#[tokio::test]
async fn replicas_come_and_go_and_no_answer_is_wrong() {
    run("replicas").await;
}

#[tokio::test]
async fn what_the_services_stand_on_goes_away_and_no_answer_is_wrong() {
    run("stores").await;
}
