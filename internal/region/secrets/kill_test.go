package secrets_test

const childEnv = "METALWARD_TEST_CHILD"

func child() {}
