"""The methods of libvirt-python that no member of the API stands for, and why. The API reference shows this
table, and a test compares it with the installed libvirt-python: each method has a row of the operations, is
called when objects are read, or is here. Pure.
"""

from collections.abc import Mapping
from typing import NamedTuple


class LeftOut(NamedTuple):
    """methods: by class, separated by blanks."""

    reason: str
    methods: Mapping[str, str]


_OBJECTS = (
    "virDomain",
    "virNetwork",
    "virNetworkPort",
    "virStoragePool",
    "virStorageVol",
    "virNodeDevice",
    "virSecret",
    "virInterface",
    "virNWFilter",
    "virNWFilterBinding",
    "virDomainSnapshot",
    "virDomainCheckpoint",
    "virStream",
)

LEFT_OUT = (
    LeftOut(
        "The cache answers this: objects are listed, found and counted without a call of libvirt.",
        {
            "virConnect": "interfaceLookupByMACString listDefinedDomains listDefinedInterfaces"
            " listDefinedNetworks listDefinedStoragePools listDevices listDomainsID listInterfaces"
            " listNWFilters listNetworks listSecrets listStoragePools lookupByID lookupByUUID"
            " networkLookupByName networkLookupByUUID nodeDeviceLookupSCSIHostByWWN numOfDefinedDomains"
            " numOfDefinedInterfaces numOfDefinedNetworks numOfDefinedStoragePools numOfDevices numOfDomains"
            " numOfInterfaces numOfNWFilters numOfNetworks numOfSecrets numOfStoragePools"
            " nwfilterLookupByName nwfilterLookupByUUID secretLookupByUUID secretLookupByUsage"
            " storagePoolLookupByTargetPath"
            " storagePoolLookupByUUID storageVolLookupByKey storageVolLookupByPath",
            "virDomain": "hasCurrentSnapshot snapshotListNames snapshotNum",
            "virNetwork": "portLookupByUUID",
            "virStoragePool": "listVolumes numOfVolumes",
            "virStorageVol": "storagePoolLookupByVolume",
            "virDomainSnapshot": "getParent getConnect getDomain isCurrent listAllChildren listChildrenNames"
            " numChildren",
            "virDomainCheckpoint": "getParent getConnect getDomain listAllChildren",
        },
    ),
    LeftOut(
        "A property has this, or a key of one.",
        {
            "virConnect": "getURI",
            "virDomain": "OSType UUID isActive isUpdated maxMemory maxVcpus schedulerType securityLabel",
            "virNetwork": "UUID bridgeName isActive",
            "virNetworkPort": "UUID network",
            "virStoragePool": "UUID isActive",
            "virStorageVol": "infoFlags",
            "virNodeDevice": "isActive listCaps numOfCaps",
            "virSecret": "UUID usageType",
            "virInterface": "MACString isActive",
            "virNWFilter": "UUID",
            "virNWFilterBinding": "filterName",
            "virDomainSnapshot": "hasMetadata",
        },
    ),
    LeftOut(
        "An older or narrower form of a call that has a member.",
        {
            "virConnect": "createLinux networkCreateXML networkDefineXML nwfilterDefineXML restore"
            " domainEventDeregister domainEventRegister",
            "virDomain": "attachDevice blockPull blockStatsFlags coreDump detachDevice jobInfo migrate"
            " migrate2 migrate3 migrateToURI migrateToURI2 pinVcpu schedulerParameters setMaxMemory setMemory"
            " setSchedulerParameters setVcpus vcpusFlags",
            "virStorageVol": "wipe",
            "virNodeDevice": "dettach",
        },
    ),
    LeftOut(
        "A part of libvirt-python itself, or of the client's own process.",
        {
            "virConnect": "c_pointer virConnGetLastError virConnResetLastError",
            **dict.fromkeys(_OBJECTS, "connect c_pointer"),
        },
    ),
    LeftOut(
        "The service acts as itself at the host. Who its caller is, polkit knows.",
        {"virConnect": "setIdentity"},
    ),
    LeftOut(
        "Not there yet: it passes data or descriptors, for which the API has no member yet.",
        {
            "virConnect": "newStream createXMLWithFiles",
            "virDomain": "openChannel openConsole openGraphics openGraphicsFD screenshot createWithFiles"
            " FDAssociate blockPeek memoryPeek",
            "virStorageVol": "download upload",
            "virStream": "abort eventAddCallback eventRemoveCallback eventUpdateCallback recv recvAll"
            " recvFlags recvHole send sendAll sendHole sparseRecvAll sparseSendAll",
        },
    ),
    LeftOut(
        "Not there yet: the definition in a saved image.",
        {
            "virConnect": "restoreParams saveImageDefineXML saveImageGetXMLDesc",
            "virDomain": "managedSaveDefineXML managedSaveGetXMLDesc saveParams",
        },
    ),
    LeftOut(
        "Not there yet: settings of a job that runs, and of the host's NUMA cells.",
        {
            "virConnect": "getCellsFreeMemory",
            "virDomain": "backupGetXMLDesc blockJobSetSpeed migrateGetCompressionCache migrateGetMaxDowntime"
            " migrateGetMaxSpeed migrateSetCompressionCache migrateSetMaxDowntime migrateSetMaxSpeed"
            " migrateStartPostCopy",
        },
    ),
)  # fmt: skip
