"""The parent process and the `filemapd` command.

`daemon` puts the parts together; each folder is one part. A folder imports only those below it here:

    cli
    daemon
    cleanup, service, web
    control
    discovery, vms
    fleet
    ledger
    config
    runtime
    text, rates
"""
