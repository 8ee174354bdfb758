# frozen_string_literal: true

require_relative "application"
require_relative "changeover"
require_relative "places"
require_relative "server"

# The proof on one database, told line by line.
class Proof
  PLACES = { sqlite: SqlitePlace, postgres: PostgresPlace }.freeze
  EXAMPLE = File.expand_path("../..", __dir__)
  FLAG = {
    key: Changeover::NAME, type: "string", change: Changeover::NAME, variants: { old: "old", new: "new" }, default_variant: "old",
    off_variant: "old", rules: [{ cohort: "pilot", serve: { variant: "new" } }]
  }.freeze

  # Accounts that new code makes: each user with an even id joins the account of the user before, if both are there.
  SHARE = "INSERT INTO memberships (account_id, user_id, role, weight) " \
          "SELECT a.id, u.id, 'member', 1 + u.id % 3 FROM users u JOIN accounts a ON a.owner_id = u.id - 1 " \
          "WHERE u.id % 2 = 0 AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.account_id = a.id AND m.user_id = u.id)"

  # Owners of accounts with several members and with charges of the month. (Users with even ids joined an account before their own.)
  PILOT = "SELECT DISTINCT a.owner_id FROM accounts a JOIN charge_allocations c ON c.account_id = a.id JOIN charges o ON o.id = c.charge_id " \
          "WHERE a.owner_id %% 2 = 1 AND o.period = '%s' AND o.reverses_id IS NULL " \
          "AND (SELECT count(*) FROM memberships m WHERE m.account_id = a.id) > 1 ORDER BY a.owner_id LIMIT 10"

  def self.all(binary, kinds)
    before = Application.checksums
    processes = kinds.map { |kind| fork { PLACES.fetch(kind).open { |place| new(binary, place, kind).run } } }
    return false unless processes.map { |process| Process.wait2(process).last.success? }.all?

    changed = before.to_a.difference(Application.checksums.to_a) | Application.checksums.to_a.difference(before.to_a)
    abort "proof: the application's source differs: #{changed.map(&:first).uniq.join(', ')}" unless changed.empty?
    puts "#{before.size} files of the application, not a line changed."
    true
  end

  def initialize(binary, place, kind)
    @place = place
    @kind = kind
    @application = Application.new(place.application_url)
    @changeover = Changeover.new(binary, place)
    @environment = @changeover.environment
  end

  def run
    @application.set_up
    test("no translation", "keep")
    night("no translation")
    install
    dualwrite
    shadow
    live
    cleaned
    rampdown
    complete
  rescue Application::Failed, Changeover::Failed => e
    abort "proof: #{@kind}: #{e.message}"
  end

  private

  def install
    new_model = File.read("#{EXAMPLE}/#{@place.schema}")[/^-- The new model.*/m]
    @place.execute(new_model)
    @changeover.run("change", "install", change_file)
    test("off", "keep")
  end

  # As it is, but that on PostgreSQL the application's tests use TRUNCATE: what that does is the change file's to say.
  def change_file
    text = File.read("#{EXAMPLE}/change.toml")
    text = text.sub(/^title /, "truncate = \"propagate\"\n\\0") if @kind == :postgres
    path = "#{@place.directory}/change.toml"
    File.write(path, text)
    path
  end

  # Old code works while what was there before is filled in.
  def dualwrite
    @changeover.stage("dualwrite")
    test("dualwrite, not filled", "keep")
    @changeover.run("backfill", Changeover::NAME)
    verified
    test("dualwrite", "keep")
    night("dualwrite")
    verified
  end

  def shadow
    @changeover.stage("shadow")
    @place.execute(SHARE)
    verified
    test("shadow", "keep")
    night("shadow")
    verified
  end

  def live
    @changeover.create_flag(FLAG)
    @changeover.run("change", "laws", Changeover::NAME, "--sample", "10")
    @changeover.sign_report
    @changeover.stage("live")
    test("live", "keep")
    @place.execute(SHARE)
    night("live")
    verified
    test("live", "transaction")
    cohort
    verified
  end

  # A pilot of owners of shared accounts is billed by the new model in the month of the last nightly job, and everybody else by the old one.
  def cohort
    period = @place.rows("SELECT max(period) FROM charges WHERE currency = 'USD' AND amount_minor = 250").dig(0, 0)
    pilot = @place.rows(format(PILOT, period)).flatten
    @changeover.run("cohort", "create", "pilot")
    @changeover.run("cohort", "import", "pilot", "-", "--reason", "the proof", input: pilot.join("\n"))
    told = @changeover.serve { |server| JSON.parse(@application.cohort(period, "CHANGEOVER_URL" => server.url, "CHANGEOVER_TOKEN" => server.token)) }
    billed = bills(period, pilot)
    raise Application::Failed, "cohort.rb: #{told} instead of #{billed}" unless told["bills"] == billed && told["users"].fetch("new") >= pilot.size

    tell("cohort", "#{period}: #{told['users']['new']} users in #{pilot.size} accounts are billed by the new model, #{told['users']['old']} by the old one")
  end

  # The bills as they must be, by the tables of both models: new for the pilot's accounts, old for all others.
  def bills(period, pilot)
    accounts = "SELECT id FROM accounts WHERE owner_id IN (#{pilot.join(', ')})"
    ours = "SELECT DISTINCT charge_id FROM charge_allocations WHERE account_id IN (#{accounts})"
    @place.rows(<<~SQL).to_h { |payer, currency, amount| ["#{payer} #{currency}", Integer(amount)] }
      SELECT payer, currency, sum(amount) FROM (
        SELECT user_id AS payer, currency, amount_minor AS amount FROM charges WHERE period = '#{period}' AND id NOT IN (#{ours})
        UNION ALL
        SELECT a.payer_id, a.currency, a.amount_minor FROM charge_allocations a JOIN charges c ON c.id = a.charge_id
        WHERE c.period = '#{period}' AND a.charge_id IN (#{ours})) AS parts
      GROUP BY payer, currency
    SQL
  end

  # The application's tests delete all that there is, or truncate it, and begin anew.
  def cleaned
    (@place.cleanings - ["transaction"]).each do |cleaning|
      test("live", cleaning)
      verified
    end
  end

  # Everybody is billed by the new model; old code that is still there goes on.
  def rampdown
    @changeover.replace_flag(FLAG.merge(default_variant: "new", rules: []))
    verified
    @changeover.stage("rampdown")
    test("rampdown", "keep")
    night("rampdown")
    verified
  end

  # The end is for when old code is gone, and so a gate forbids it here. What old code writes then reaches the old model only, as before
  # the installation; it does not fail.
  def complete
    refused = @changeover.refused("change", "stage", Changeover::NAME, "complete")
    raise Application::Failed, "complete was not refused for the old code's sake: #{refused}" unless refused.include?("old path")

    @changeover.run("change", "stage", Changeover::NAME, "complete", "--force", "--reason", "the proof")
    test("complete", "keep")
  end

  def test(stage, *cleanings)
    cleanings.each { |cleaning| tell(stage, "#{cleaning}: #{@application.test(cleaning)}") }
  end

  def night(stage)
    tell(stage, "night: #{@application.night}")
  end

  def verified
    found = @changeover.verify
    tell("verify", "drift #{found.fetch('drift')} of #{found.fetch('blocks').sum { |block| block.fetch('keys') }} keys, nothing pending")
  end

  def tell(step, text)
    $stdout.write(format("%-9s %-24s %s\n", @kind, step, text))
  end
end
