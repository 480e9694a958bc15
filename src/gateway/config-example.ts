/** A minimal configuration with comments, as `baton config init` prints it. It is valid as it stands. */
export const exampleConfig: string = `# Configuration of a Baton gateway. "baton config check FILE" checks it,
# "baton config explain KEY" says what a key means and what its default is.

device: gw1                   # name of this gateway; its AE-ID stem is Sgw1
dataDirectory: data           # everything durable; relative to this file

inCse:                        # the IN-CSE that keeps the serving record
  pointOfAccess: coap://192.0.2.1:5683
  cseId: /id-in
  cseBaseName: cse-in

links:                        # access links, each with an address of this machine
  - name: lte0
    localAddress: 192.0.2.10
    modem:
      path: /dev/ttyUSB2      # better: the name under /dev/serial/by-id/

sensors:
  - name: weather
    serialLine:
      path: /dev/ttyACM0
      format: json            # {"s":"temperature","n":1,"v":21.5}*CRC; csv: temperature,21.5
      acknowledge: true       # the sensor repeats a line until it is stored
    streams:
      - name: temperature
        class: B              # A flush at once, B together with others, C in memory until the link fails
        order: liveFirst      # after an outage: new readings first, older ones beside them
        unit: Cel
      - name: door
        class: A
        priority: 9           # 1 to 10; higher is kept longer when the buffer is full

# AEs that move with the gateway, all together or not at all; without this, it has one AE of its own.
# The same list can be in a file of its own, named by bundle.file.
#bundle:
#  aes:
#    - name: gw1-weather       # AE-ID stem Sgw1-weather, the same at every CSE
#      dependsOn: [gw1]        # registered after the gateway's own AE
#      announceTo: [/id-in]    # while it serves
#      allow:
#        - originators: [/id-in/Cviewer]
#          operations: [retrieve, discovery]
#      containers:
#        - path: state
#          maxNrOfInstances: 100
#          recent: last 10     # the newest ten are copied to the next CSE, with their times
#      subscriptions:
#        - path: state/watch
#          notify: [/id-in/Cviewer]
# A sensor or a stream with "ae: gw1-weather" has its container under that AE.

# Everything below has a default; these lines show some of them.
#buffer:
#  quotaBytes: 536870912
#  fullAlarmHours: 24          # alarm when nothing is delivered and it will be full sooner
#  card:                       # what the projected life of the card is computed with
#    enduranceCycles: 3000
#decision:
#  a3:
#    offsetDb: 3
#    hysteresisDb: 1
#    timeToTriggerMs: 1024
#log:
#  level: info
`;
