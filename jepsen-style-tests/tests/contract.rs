//! smoke
use holdfast_ari::*;
use holdfast_drills::lab::*;

#[tokio::test]
async fn real_smoke() {
    let lab = Lab::new(Kind::Real).unwrap();
    let pbx = lab.start("a").await.unwrap();
    #[allow(irrefutable_let_patterns)]
    if let Pbx::Real(real) = &pbx {
        eprintln!(
            "started in {:?} at {}",
            real.started_in(),
            real.folder().display()
        );
    }
    let client = AriClient::new(&pbx.ari()).unwrap();
    eprintln!("{:?}", client.info().await);
    let mut events = events(&pbx.ari());
    eprintln!("{:?}", events.next().await);
    let phone = pbx
        .phone(
            "1001",
            Habit::Answer {
                after_ms: 300,
                talk_ms: Some(1500),
            },
        )
        .await
        .unwrap();
    eprintln!(
        "{:?}",
        client
            .device_state(&Endpoint::new("PJSIP/1001").unwrap())
            .await
    );
    let caller = pbx
        .call(CallSpec::new("q-support", "5551000"))
        .await
        .unwrap();
    eprintln!("answered {:?}", caller.wait_answered().await);
    let mut id = String::new();
    while let Some(item) = events.next().await {
        if let StreamItem::Event(Event::StasisStart { channel, args, .. }) = item {
            id = channel.id.clone();
            eprintln!("{channel:?} {args:?}");
            break;
        }
    }
    eprintln!("{:?}", caller.hears().await);
    let r = client
        .originate(&Originate {
            channel_id: ChannelId::new("leg-1").unwrap(),
            endpoint: Endpoint::new("PJSIP/1001").unwrap(),
            app_args: vec!["agent".into()],
            caller_id: CallerId {
                name: "Bob".into(),
                number: "5551000".into(),
            },
            originator: Some(id.clone()),
            timeout_s: 10,
            variables: vec![],
        })
        .await;
    eprintln!("{r:?}");
    while let Some(item) = events.next().await {
        if let StreamItem::Event(Event::StasisStart { channel, args, .. }) = &item {
            eprintln!("{} {args:?}", channel.id);
            break;
        }
        if let StreamItem::Event(e) = item {
            eprintln!("{}", e.type_name());
        }
    }
    client.stop_moh(&id).await.unwrap();
    client
        .create_bridge(&ChannelId::new("b1").unwrap())
        .await
        .unwrap();
    client.add_channels("b1", &[&id, "leg-1"]).await.unwrap();
    eprintln!("{:?}", caller.hears().await);
    while let Some(item) = events.next().await {
        if let StreamItem::Event(Event::ChannelDestroyed { channel, cause, .. }) = &item {
            eprintln!("destroyed {} {cause:?}", channel.id);
            break;
        }
        if let StreamItem::Event(e) = item {
            eprintln!("{}", e.type_name());
        }
    }
    client
        .set_variables(&id, &[(Var::QUEUESTATUS, "TIMEOUT")])
        .await
        .unwrap();
    client
        .continue_in_dialplan(&id, &Continue::default())
        .await
        .unwrap();
    eprintln!("{:?}", caller.wait_ended().await);
    eprintln!("{:?}", pbx.dialplan_result("5551000").await);
    eprintln!(
        "{} {} {:?}",
        phone.times_rung(),
        phone.answered_calls(),
        phone.causes()
    );
    panic!("keep");
}
