package smtpc

import "anymx/edge/delivery/smtpc/smtptest"

// testCert is for core.test, signed by the only certificate of testRoots.
var testCert, testRoots = smtptest.Certificate("core.test")
